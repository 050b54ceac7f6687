using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using KvCuda.Backends;
using KvCuda.Engine;
using KvCuda.Model;
using KvCuda.Text;

namespace KvCuda.Cli;

/// <summary><c>kvcuda perplexity</c>: how well a model predicts a text, under any option that may change the answer.</summary>
internal static class PerplexityCommand
{
    const int Rows = 256, LongestWindow = 1 << 16;

    public static Command Create()
    {
        ModelOptions model = new();
        Argument<string> text = new("TEXT")
        {
            Description = "A text file, or a .json list of lists of token ids (weights/held-out.json). Every list, or every piece of a text as long as the "
                + "context (at most 256 tokens), is predicted by itself, its first token given.",
        };
        Command command = new("perplexity", "Print exp of the mean cross-entropy of every next token of a text, in f32: what int8 weights or a sharing map cost.");
        model.AddTo(command);
        command.Add(text);
        command.SetAction(parsed =>
        {
            KvEngineOptions engine = model.Engine(parsed);
            // The study's iterative prefill needs a whole prompt in one piece, and here every window is one.
            (engine with { Prefill = PrefillMode.Converged }).Validate();
            string folder = parsed.GetValue(model.Model)!;
            using LoadedModel loaded = LoadedModel.Load(folder, engine with
            {
                NumericsClass = Numerics.Exact, KvType = engine.KvType == "auto" ? "f32" : engine.KvType,
                MaxSequences = 16, MaxStepTokens = Rows, MaxWanted = Rows,
            });
            List<int[]> windows = Windows(parsed.GetValue(text)!, folder, loaded);
            int longest = windows.Max(ids => ids.Length) - 1;
            if (engine.Prefill.Kind == PrefillKind.Iterative && longest > Rows)
            {
                throw new InvalidRequestException($"Iterative prefill runs a window in one piece: one of {longest} tokens was given, a step takes {Rows}.");
            }
            double perplexity = PerplexityRun.Of(loaded, engine.Prefill, windows);
            Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $$"""
                {"perplexity":{{perplexity:F5}},"predictions":{{windows.Sum(ids => ids.Length - 1)}},"weights":"{{engine.Weights}}","sharing":"{{loaded.Sharing}}"}
                """));
            if (parsed.GetValue(model.Stats))
            {
                StatsPrinter.Print(loaded.Backend.Counters);
            }
            return CommandLine.Done;
        });
        return command;
    }

    static List<int[]> Windows(string path, string folder, LoadedModel loaded)
    {
        List<int[]> windows = [];
        if (Path.GetExtension(path) == ".json")
        {
            try
            {
                using JsonDocument json = JsonDocument.Parse(File.ReadAllBytes(path));
                windows.AddRange(json.RootElement.EnumerateArray().Select(ids => ids.EnumerateArray().Select(id => id.GetInt32()).ToArray()));
            }
            catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException)
            {
                throw new InputException($"{path} is not a list of lists of token ids: {e.Message}");
            }
        }
        else
        {
            int[] ids = [.. Tokenizer.Load(folder).EncodeToIds(File.ReadAllText(path))];
            int length = Math.Min(Rows, loaded.MaxContext) + 1;
            windows.AddRange(ids.Chunk(length).Where(window => window.Length > 1));
        }
        if (windows.Count == 0 || windows.Any(ids => ids.Length is < 2 or > LongestWindow))
        {
            throw new InputException($"{path} holds nothing to predict: every window needs at least two tokens.");
        }
        Admission admission = new(loaded);
        foreach (int[] ids in windows)
        {
            try
            {
                admission.CheckPrompt(ids[..^1], 0);
                admission.CheckPrompt(ids[^1..], 0);
            }
            catch (InvalidRequestException wrong)
            {
                throw new InputException($"{path}: {wrong.Message}", wrong);
            }
        }
        return windows;
    }
}
