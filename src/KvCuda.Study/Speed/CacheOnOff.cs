// What the cache itself gains: the same prompt and the same new tokens with and without it.
using System.Diagnostics;
using KvCuda.KvStore;
using KvCuda.Model;

namespace KvCuda.Study;

/// <summary>
/// Greedy tokens after a prompt, once with keys and values kept, once computing the whole sequence again for every token, as a program
/// without a cache does. Both give the same tokens, which is checked.
/// </summary>
internal static class CacheOnOff
{
    public static IReadOnlyList<Cell> Run(string name, string folder, string device, int threads, int prompt, int generate, int repeats)
    {
        Weights.ModelConfig config = Weights.ModelConfig.Load(folder);
        int total = Math.Min(prompt + generate, config.MaxPositions - 1);
        prompt = Math.Min(prompt, total - 1);
        generate = total - prompt;
        using LoadedModel model = LoadedModel.Load(folder, new()
        {
            Device = device, Threads = threads, MaxSequences = 1, MaxStepTokens = 256, MaxContext = total + 1, NumericsClass = Backends.Numerics.Consistent,
        });
        using var runner = new StepRunner(model);
        int[] ids = Prompts.Random(11, prompt, config.Vocabulary);
        List<double> on = [], off = [];
        int[]? first = null;
        for (int i = 0; i <= repeats; i++)
        {
            long start = Stopwatch.GetTimestamp();
            int[] with = With(model, runner, ids, generate);
            double withSeconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            start = Stopwatch.GetTimestamp();
            int[] without = Without(model, runner, ids, generate);
            double withoutSeconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            if (!with.AsSpan().SequenceEqual(without))
            {
                throw new DeviceException("Generation with and without the cache gave different tokens: this is a fault of the engine.");
            }
            first ??= with;
            if (i > 0)
            {
                on.Add(withSeconds);
                off.Add(withoutSeconds);
            }
        }
        string at = $"prompt={prompt} generate={generate}", map = model.Sharing.ToString(), format = Tensors.DTypes.Name(model.KvType);
        Cell cellOn = Cell.Of(name, map, format, "cache_on_s", at, "s", "lower", on), cellOff = Cell.Of(name, map, format, "cache_off_s", at, "s", "lower", off);
        double[] ratios = [.. off.Zip(on, (a, b) => a / b)];
        return [cellOn, cellOff, Cell.Of(name, map, format, "cache_gain", at, "times", "higher", ratios) with { Note = "same tokens both ways, checked" }];
    }

    static int[] With(LoadedModel model, StepRunner runner, int[] prompt, int generate)
    {
        KvSequence sequence = model.Store.Open();
        int[] tokens = new int[generate], last = [runner.Prompt(sequence, prompt, PrefillMode.Converged)];
        for (int i = 0; i < generate; i++)
        {
            tokens[i] = last[0];
            if (i < generate - 1)
            {
                runner.Decode([sequence], last);
            }
        }
        model.Store.Close(sequence);
        return tokens;
    }

    static int[] Without(LoadedModel model, StepRunner runner, int[] prompt, int generate)
    {
        List<int> all = [.. prompt];
        for (int i = 0; i < generate; i++)
        {
            KvSequence sequence = model.Store.Open();
            all.Add(runner.Prompt(sequence, System.Runtime.InteropServices.CollectionsMarshal.AsSpan(all), PrefillMode.Converged));
            model.Store.Close(sequence);
        }
        return [.. all.Skip(prompt.Length)];
    }
}
