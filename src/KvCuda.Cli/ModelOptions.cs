using KvCuda.Tensors;
using System.CommandLine;
using System.Globalization;
using KvCuda.Engine;
using KvCuda.Model;

namespace KvCuda.Cli;

/// <summary>The options that every command which runs a model understands.</summary>
internal sealed class ModelOptions
{
    public Argument<string> Model { get; } = new("MODEL")
    {
        Description = "A Hugging Face model folder: config.json, *.safetensors and, for text, tokenizer.json.",
    };

    public Option<string> Device { get; } = new("--device")
    {
        Description = "auto, cpu, cuda, cuda:N or cuda-host. auto = CUDA if a driver, NVRTC and a device are found, else the CPU.",
        DefaultValueFactory = _ => "auto",
    };

    public Option<int> Threads { get; } = new("--threads") { Description = "Threads of the CPU backend; 0 = one per core." };

    public Option<string?> Sharing { get; } = new("--sharing")
    {
        Description = "Experimental: a sharing map that replaces the one the model was trained with "
            + "(0_0_2_2, lasagna-bottom:11, cla:2, ...).",
    };

    public Option<string?> KvBudget { get; } = new("--kv-budget")
    {
        Description = "Memory for keys and values, as in 512MiB or 2GiB. Default: chosen from the device's memory and the context.",
    };

    public Option<string?> HostKvBudget { get; } = new("--host-kv-budget")
    {
        Description = "CUDA only: pinned host memory for evicted keys and values, as in 4GiB. Default: none.",
    };

    public Option<int> PageTokens { get; } = new("--page-tokens")
    {
        Description = "Tokens per page of the KV store: 16, 32, 64 or 128.",
        DefaultValueFactory = _ => 64,
    };

    public Option<string> KvType { get; } = new("--kv-dtype")
    {
        Description = "Type of stored keys and values: auto (the weights' type; f32 in logits and perplexity), f32, bf16 or f16.",
        DefaultValueFactory = _ => "auto",
    };

    public Option<string> Prefill { get; } = new("--prefill")
    {
        Description = "How prompts run when a layer reads from above: converged, sequential, or (logits, perplexity) iterative:7+2.",
        DefaultValueFactory = _ => "converged",
    };

    public Option<string> Numerics { get; } = new("--numerics")
    {
        Description = "fast or consistent: whether a row's bits may depend on how many rows run together in prompt-sized calls. "
            + "On the CPU both are consistent.",
        DefaultValueFactory = _ => "fast",
    };

    public Option<string> Weights { get; } = new("--weights")
    {
        Description = "stored, or int8 (CPU only): matrices are quantised at load, half of bf16's memory and bytes per token.",
        DefaultValueFactory = _ => "stored",
    };

    public Option<bool> HoldWeights { get; } = new("--hold-weights")
    {
        Description = "CPU only: copy the weights into memory instead of reading them in place from the mapped files, which must then not change.",
    };

    public Option<int?> Context { get; } = new("--context") { Description = "Longest sequence in tokens. Default: the model's." };

    public Option<bool> Stats { get; } = new("--stats") { Description = "At the end, print the number of calls per verb to standard error." };

    public Option<bool> KvReport { get; } = new("--kv-report")
    {
        Description = "At the end, print memory use and hits of the KV store to standard error (as JSON if the command prints JSON).",
    };

    /// <summary>Adds the argument and all options to a command.</summary>
    public void AddTo(Command command)
    {
        command.Add(Model);
        Numerics.AcceptOnlyFromAmong("fast", "consistent");
        Weights.AcceptOnlyFromAmong(WeightFormat.Choices);
        foreach (Option option in new Option[]
            { Device, Threads, Sharing, KvBudget, HostKvBudget, PageTokens, KvType, Prefill, Numerics, Weights, HoldWeights, Context, Stats })
        {
            command.Add(option);
        }
    }

    public KvEngineOptions Engine(ParseResult parsed) => new()
    {
        Device = parsed.GetValue(Device)!,
        Threads = parsed.GetValue(Threads),
        Sharing = parsed.GetValue(Sharing),
        KvBudgetBytes = parsed.GetValue(KvBudget) is { } budget ? Bytes(budget) : null,
        HostKvBudgetBytes = parsed.GetValue(HostKvBudget) is { } host ? Bytes(host) : 0,
        PageTokens = parsed.GetValue(PageTokens),
        KvType = parsed.GetValue(KvType)!,
        MaxContext = parsed.GetValue(Context),
        Prefill = PrefillMode.Parse(parsed.GetValue(Prefill)!),
        Numerics = parsed.GetValue(Numerics)!,
        Weights = parsed.GetValue(Weights)!,
        HoldWeights = parsed.GetValue(HoldWeights),
    };

    /// <summary>Understands 4096, 512KiB, 2GiB, 2GB.</summary>
    public static long Bytes(string text)
    {
        string trimmed = text.Trim();
        int digits = 0;
        while (digits < trimmed.Length && (char.IsAsciiDigit(trimmed[digits]) || trimmed[digits] == '.'))
        {
            digits++;
        }
        double factor = trimmed[digits..].Trim().ToUpperInvariant() switch
        {
            "" or "B" => 1,
            "KIB" or "K" => 1024,
            "MIB" or "M" => 1024.0 * 1024,
            "GIB" or "G" => 1024.0 * 1024 * 1024,
            "KB" => 1e3,
            "MB" => 1e6,
            "GB" => 1e9,
            _ => 0,
        };
        if (factor == 0 || !double.TryParse(trimmed[..digits], NumberStyles.Float, CultureInfo.InvariantCulture, out double number)
            || number * factor is < 1 or > 1e15)
        {
            throw new InvalidRequestException($"'{text}' is not an amount of memory; write it as 512MiB or 2GiB.");
        }
        return (long)(number * factor);
    }

    /// <summary>Understands "5 17 9" and "5,17,9".</summary>
    public static int[] Tokens(string text)
    {
        string[] parts = text.Split([' ', ',', '\t'], StringSplitOptions.RemoveEmptyEntries);
        int[] tokens = new int[parts.Length];
        for (int i = 0; i < parts.Length; i++)
        {
            if (!int.TryParse(parts[i], NumberStyles.None, CultureInfo.InvariantCulture, out tokens[i]))
            {
                throw new InvalidRequestException($"'{parts[i]}' is not a token id; write ids as \"5 17 9\".");
            }
        }
        return tokens;
    }
}
