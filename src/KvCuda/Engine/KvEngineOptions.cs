using KvCuda.Model;

namespace KvCuda.Engine;

/// <summary>How an engine is set up. The defaults suit a service that embeds it.</summary>
public sealed record KvEngineOptions
{
    /// <summary><c>auto</c> (CUDA if driver, NVRTC and a device are all there, else CPU), <c>cpu</c>, <c>cuda</c>, <c>cuda:1</c>;
    /// <c>cuda-host</c> or <c>cuda-host:plain</c>: the kernels executed on the CPU, for working on them.</summary>
    public string Device { get; init; } = "auto";

    /// <summary>Threads of the CPU backend; 0 means one per core.</summary>
    public int Threads { get; init; }

    /// <summary>
    /// Overrides which layer reads whose keys and values, for experiments: the model was not trained with it. Null keeps the
    /// model's own map, as "native" does. The grammar is <see cref="KvStore.LayerSharing.Parse"/>'s.
    /// </summary>
    public string? Sharing { get; init; }

    /// <summary>Bytes of key/value pages; null chooses from the machine's memory and the model's context length.</summary>
    public long? KvBudgetBytes { get; init; }

    /// <summary>
    /// Bytes of pinned host memory (the host tier) to which cached pages go when the device needs room, and from which they
    /// come back when a prompt begins with them; 0: such pages are forgotten. Needs a CUDA device.
    /// </summary>
    public long HostKvBudgetBytes { get; init; }

    /// <summary>Tokens per page: a power of two from 16 to 128.</summary>
    public int PageTokens { get; init; } = 64;

    /// <summary>The largest share of the store, from 0 to 1, that precomputed prompts may pin.</summary>
    public double PinnedShare { get; init; } = 0.25;

    /// <summary>How keys and values are kept: <c>auto</c> (the weights' type), <c>f32</c>, <c>bf16</c> or <c>f16</c>.</summary>
    public string KvType { get; init; } = "auto";

    /// <summary>Longest sequence in tokens; null means the model's own limit.</summary>
    public int? MaxContext { get; init; }

    /// <summary>Most sequences that run at the same time; others wait.</summary>
    public int MaxSequences { get; init; } = 64;

    /// <summary>Most rows (tokens) of one step: the length of a prompt chunk, and so the longest wait for a cancellation.</summary>
    public int MaxStepTokens { get; init; } = 256;

    /// <summary>A tokenizer of one's own instead of the model folder's tokenizer.json; it must be safe for concurrent use.</summary>
    public Text.Tokenizer? Tokenizer { get; init; }

    /// <summary>How prompts run through models whose layers look upward.</summary>
    public PrefillMode Prefill { get; init; } = PrefillMode.Converged;

    /// <summary>
    /// <c>fast</c>: on a GPU, calls of prompt size may use other kernels than decode steps, and agree within tolerance.
    /// <c>consistent</c>: a row's bits depend on the row alone, so that cached, preempted and restored work gives exactly the
    /// tokens of a cold run. On the CPU both are consistent. A snapshot that is restored by other kernels than saved it (another device,
    /// or a processor with AMX tiles and one without) goes on within tolerance.
    /// </summary>
    public string Numerics { get; init; } = "fast";

    /// <summary>
    /// <c>stored</c>: as the files have them, in place. <c>int8</c> (CPU only): the matrices are quantised when the model is loaded,
    /// in groups of 32 numbers with a scale each, and multiplied with activations rounded to 16 bits: about half of bf16's memory and bytes
    /// read per token, at a small loss that <c>kvcuda perplexity</c> measures.
    /// </summary>
    public string Weights { get; init; } = "stored";

    /// <summary>The clock of <see cref="CacheRetention.TimeToLive"/> and <see cref="SessionOptions.IdleTimeToLive"/>.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    internal LoadOptions ForModel() => new()
    {
        Device = Device, Threads = Threads, Sharing = Sharing, KvBudgetBytes = KvBudgetBytes,
        HostKvBudgetBytes = HostKvBudgetBytes, PageTokens = PageTokens,
        KvType = KvType, MaxContext = MaxContext, MaxSequences = MaxSequences, MaxRows = MaxStepTokens, Prefill = Prefill,
        Numerics = NumericsClass,
        Int8Weights = Weights == "int8",
    };

    internal Backends.Numerics NumericsClass =>
        Numerics == "consistent" ? Backends.Numerics.Consistent : Backends.Numerics.Fast;

    /// <summary>Finds what is out of range whatever the model; loading a model begins with this.</summary>
    /// <exception cref="InvalidRequestException">An option is out of range; the message names it.</exception>
    public void Validate()
    {
        Require(Numerics is "fast" or "consistent", $"Numerics is '{Numerics}'; it must be fast or consistent.");
        Require(Weights is "stored" or "int8", $"Weights is '{Weights}'; it must be stored or int8.");
        Require(PageTokens is >= 16 and <= 128 && (PageTokens & (PageTokens - 1)) == 0,
            $"PageTokens is {PageTokens}; it must be 16, 32, 64 or 128.");
        Require(MaxSequences is >= 1 and <= 4096, $"MaxSequences is {MaxSequences}; it must be from 1 to 4096.");
        Require(MaxStepTokens is >= 1 and <= 65536, $"MaxStepTokens is {MaxStepTokens}; it must be from 1 to 65536.");
        Require(MaxContext is null or >= 2, $"MaxContext is {MaxContext}; it must be at least 2.");
        Require(KvBudgetBytes is null or > 0, $"KvBudgetBytes is {KvBudgetBytes}; it must be positive.");
        Require(HostKvBudgetBytes >= 0, $"HostKvBudgetBytes is {HostKvBudgetBytes}; it must not be negative.");
        Require(PinnedShare is >= 0 and <= 1, $"PinnedShare is {PinnedShare}; it must be from 0 to 1.");
        Require(Threads >= 0, $"Threads is {Threads}; it must not be negative.");
        Require(Prefill.Kind != PrefillKind.Iterative,
            "Iterative prefill is an approximation kept for comparison: it needs the whole prompt in one piece from zero keys "
            + "and values, which a scheduler of many requests cannot give. Use converged (the default) or sequential; "
            + "`kvcuda logits --prefill iterative:7+2` shows it.");
    }

    static void Require(bool condition, string message)
    {
        if (!condition)
        {
            throw new InvalidRequestException(message);
        }
    }
}
