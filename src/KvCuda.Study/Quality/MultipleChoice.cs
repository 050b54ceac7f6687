// Multiple choice on a user's file, scored as the evaluation harnesses do.
using System.Text.Json;
using KvCuda.Model;
using KvCuda.Text;

namespace KvCuda.Study;

/// <summary>
/// Questions of a file of JSON lines: <c>{"context": "..", "choices": ["..", ".."], "gold": 0}</c>. A choice's score is the sum of the
/// log-probabilities of its tokens after the context. acc: the best sum is the right one; acc_norm: the best sum per character.
/// </summary>
internal static class MultipleChoice
{
    internal sealed record Question(string Context, string[] Choices, int Gold);

    /// <exception cref="InvalidRequestException">A line is not a question.</exception>
    public static IReadOnlyList<Question> Load(string path)
    {
        List<Question> questions = [];
        int number = 0;
        foreach (string line in File.ReadLines(path).Where(line => line.Trim().Length > 0))
        {
            number++;
            Question? read;
            try
            {
                read = JsonSerializer.Deserialize<Question>(line, web);
            }
            catch (JsonException error)
            {
                throw new InvalidRequestException($"{path}, question {number}: {error.Message}");
            }
            if (read is not { Context.Length: > 0, Choices.Length: > 1 } || read.Gold < 0 || read.Gold >= read.Choices.Length
                || read.Choices.Any(string.IsNullOrEmpty))
            {
                throw new InvalidRequestException(
                    $"{path}, question {number}: a question has a context, two choices or more, and gold, the number of the right one from 0.");
            }
            questions.Add(read);
        }
        return questions.Count > 0 ? questions : throw new InvalidRequestException($"{path} holds no question.");
    }

    static readonly JsonSerializerOptions web = new(JsonSerializerDefaults.Web);

    /// <summary>Per question: right by sum, right by sum per character.</summary>
    public static (bool Acc, bool AccNorm)[] Score(LoadedModel model, Tokenizer tokenizer, IReadOnlyList<Question> questions)
    {
        using var runner = new StepRunner(model);
        List<int[]> windows = [];
        List<(int Question, int Choice, int From)> meaning = [];
        for (int q = 0; q < questions.Count; q++)
        {
            // Trailing spaces of the context belong to the choice: tokenizers join them with the next word.
            string context = questions[q].Context.TrimEnd(), spaces = questions[q].Context[context.Length..];
            int contextTokens = tokenizer.EncodeToIds(context).Count;
            for (int c = 0; c < questions[q].Choices.Length; c++)
            {
                int[] ids = [.. tokenizer.EncodeToIds(context + (spaces.Length == 0 ? " " : spaces) + questions[q].Choices[c])];
                int from = Math.Clamp(contextTokens, 1, ids.Length - 1);
                int most = model.MaxContext;
                if (ids.Length > most)
                {
                    (ids, from) = (ids[^most..], Math.Max(1, from - (ids.Length - most)));
                }
                windows.Add(ids);
                meaning.Add((q, c, from));
            }
        }
        double[][] sums = [.. questions.Select(question => new double[question.Choices.Length])];
        runner.Predict(windows, PrefillMode.Converged, (w, at, logits) =>
        {
            (int q, int c, int from) = meaning[w];
            if (at >= from)
            {
                double largest = System.Numerics.Tensors.TensorPrimitives.Max<float>(logits), sum = 0;
                foreach (float logit in logits)
                {
                    sum += Math.Exp(logit - largest);
                }
                sums[q][c] += logits[windows[w][at]] - largest - Math.Log(sum);
            }
        });
        return
        [
            .. questions.Select((question, q) => (
                Array.IndexOf(sums[q], sums[q].Max()) == question.Gold,
                Best(sums[q].Select((sum, c) => sum / question.Choices[c].Length)) == question.Gold)),
        ];
    }

    static int Best(IEnumerable<double> scores) => scores.Select((score, i) => (score, i)).MaxBy(pair => pair.score).i;

    /// <summary>acc and acc_norm with standard errors, and McNemar's p-value against the reference.</summary>
    public static IReadOnlyList<Cell> Cells(string name, string map, string format, string file, (bool Acc, bool AccNorm)[] mine,
        (bool Acc, bool AccNorm)[]? reference)
    {
        Cell Make(string measure, Func<(bool Acc, bool AccNorm), bool> of)
        {
            double share = mine.Count(of) / (double)mine.Length;
            return new(name, map, format, measure, file, "share", share)
            {
                N = mine.Length, Better = "higher",
                Error = mine.Length > 1 ? Math.Sqrt(share * (1 - share) / (mine.Length - 1)) : double.NaN,
                P = reference is null ? double.NaN : Statistics.McNemar.Exact(
                    mine.Zip(reference).Count(pair => !of(pair.First) && of(pair.Second)),
                    mine.Zip(reference).Count(pair => of(pair.First) && !of(pair.Second))),
            };
        }
        return [Make("acc", score => score.Acc), Make("acc_norm", score => score.AccNorm)];
    }
}
