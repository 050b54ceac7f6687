// Retrieval against length, from synthetic tasks that need no download and no tokenizer.
using KvCuda.Model;

namespace KvCuda.Study;

/// <summary>
/// Tasks after RULER (Hsieh et al. 2024), made of token ids so that any vocabulary will do: what was seen early must be predicted
/// late. An item is a prompt whose last tokens are the answer; its score is the share of answer tokens that are the model's
/// likeliest. Models of a few million parameters do not follow instructions, but a trained one copies.
/// </summary>
internal static class Retrieval
{
    /// <summary>The tasks.</summary>
    public static IReadOnlyList<string> Tasks { get; } = ["copy", "needle", "multi-key", "variable-tracking"];

    /// <summary>RULER's threshold for an effective length.</summary>
    public const double Threshold = 0.856;

    /// <summary>An item: token ids, of which the last <paramref name="Answer"/> are predicted.</summary>
    internal readonly record struct Item(int[] Ids, int Answer);

    /// <summary>Items of a task at a length; the same for the same seed.</summary>
    public static IReadOnlyList<Item> Make(string task, int length, int count, int vocabulary, IReadOnlyList<int> text, int seed)
    {
        var random = new Random((seed * 7919) + length);
        return [.. Enumerable.Range(0, count).Select(_ => One(task, length, vocabulary, text, random))];
    }

    static Item One(string task, int length, int vocabulary, IReadOnlyList<int> text, Random random)
    {
        int Token() => text.Count > 0 ? text[random.Next(text.Count)] : random.Next(vocabulary);
        int[] Fresh(int n) => [.. Enumerable.Range(0, n).Select(_ => random.Next(vocabulary))];
        List<int> ids = [];
        const int keyTokens = 2, valueTokens = 4;
        switch (task)
        {
            case "copy":
                // A passage, then the passage again: the second time its tokens are known.
                int half = Math.Max(8, length / 2);
                ids.AddRange(Enumerable.Range(0, half).Select(_ => Token()));
                ids.AddRange(ids[..half]);
                return new([.. ids.Take(Math.Max(16, length))], Math.Min(half, length - half) - 4);
            case "needle":
                int[] key = Fresh(keyTokens), value = Fresh(valueTokens);
                int room = Math.Max(2, length - (2 * (keyTokens + valueTokens))), depth = random.Next(room);
                ids.AddRange(Enumerable.Range(0, depth).Select(_ => Token()));
                ids.AddRange([.. key, .. value]);
                ids.AddRange(Enumerable.Range(0, room - depth).Select(_ => Token()));
                ids.AddRange([.. key, .. value]);
                return new([.. ids], valueTokens);
            case "multi-key":
                // The haystack is made of needles.
                var pairs = new List<(int[] Key, int[] Value)>();
                while ((pairs.Count + 2) * (keyTokens + valueTokens) <= length)
                {
                    pairs.Add((Fresh(keyTokens), Fresh(valueTokens)));
                    ids.AddRange([.. pairs[^1].Key, .. pairs[^1].Value]);
                }
                (int[] asked, int[] wanted) = pairs[random.Next(pairs.Count)];
                ids.AddRange([.. asked, .. wanted]);
                return new([.. ids], valueTokens);
            default:
                // x1 = v, x2 = x1, x3 = x2, x4 = x3 with noise between; then x4 = ?
                int[] v = Fresh(valueTokens);
                int[][] names = [.. Enumerable.Range(0, 4).Select(_ => Fresh(keyTokens))];
                int noise = Math.Max(1, (length - (6 * (keyTokens + valueTokens))) / 4);
                for (int hop = 0; hop < 4; hop++)
                {
                    ids.AddRange([.. names[hop], .. hop == 0 ? v : names[hop - 1]]);
                    ids.AddRange(Enumerable.Range(0, noise).Select(_ => Token()));
                }
                ids.AddRange([.. names[3], .. v]);
                return new([.. ids], valueTokens);
        }
    }

    /// <summary>The share of answer tokens that are the likeliest, per item.</summary>
    public static double[] Scores(LoadedModel model, IReadOnlyList<Item> items)
    {
        using var runner = new StepRunner(model);
        double[] right = new double[items.Count];
        runner.Predict([.. items.Select(item => item.Ids)], PrefillMode.Converged, (i, at, logits) =>
        {
            Item item = items[i];
            if (at >= item.Ids.Length - item.Answer)
            {
                int best = System.Numerics.Tensors.TensorPrimitives.IndexOfMax<float>(logits);
                right[i] += best == item.Ids[at] ? 1.0 / item.Answer : 0;
            }
        });
        return right;
    }

    /// <summary>The cells of all tasks, one score per length, and the effective length of each task.</summary>
    public static IReadOnlyList<Cell> Cells(string name, string map, string format, LoadedModel model, IReadOnlyList<int> lengths, int count,
        IReadOnlyList<int> text, int seed = 1)
    {
        List<Cell> cells = [];
        foreach (string task in Tasks)
        {
            int effective = 0;
            bool broken = false;
            foreach (int length in lengths)
            {
                double[] scores = Scores(model, Make(task, length, count, model.Config.Vocabulary, text, seed));
                double mean = scores.Average();
                cells.Add(new(name, map, format, "retrieval", $"{task} length={length}", "share", mean)
                {
                    N = count, Better = "higher", Error = count > 1 ? Statistics.Numbers.StandardError(scores) : double.NaN,
                });
                broken |= mean < Threshold;
                effective = broken ? effective : length;
            }
            cells.Add(new(name, map, format, "effective_length", task, "tokens", effective)
            {
                N = count * lengths.Count, Better = "higher", Note = $"longest length up to which the score is at least {Threshold:0.###}",
            });
        }
        return cells;
    }
}
