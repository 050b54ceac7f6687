using System.CommandLine;
using System.Globalization;
using System.Text;
using KvCuda.Backends;
using KvCuda.Engine;
using KvCuda.Model;
using KvCuda.Weights;

namespace KvCuda.Cli;

/// <summary><c>kvcuda logits</c>: a prompt's last logits and greedy tokens as JSON, in f32 throughout.</summary>
internal static class LogitsCommand
{
    public static Command Create()
    {
        ModelOptions model = new();
        Option<string> tokens = new("--tokens")
        {
            Description = "Token ids of the prompt: \"5 17 9\". '-' reads one prompt per line from standard input.", Required = true,
        };
        Option<int> greedy = new("--greedy") { Description = "Number of greedy tokens to generate after the prompt." };
        Option<bool> together = new("--batch") { Description = "Run all prompts in one ragged batch; the output is the same." };

        Command command = new("logits", "Print a prompt's last logits and the greedy tokens that follow, as JSON, one line per prompt.");
        model.AddTo(command);
        command.Add(tokens);
        command.Add(greedy);
        command.Add(together);
        command.Add(model.KvReport);
        command.SetAction(parsed =>
        {
            KvEngineOptions engine = model.Engine(parsed);
            (engine with { Prefill = PrefillMode.Converged }).Validate(); // iterative is refused elsewhere only
            List<int[]> prompts = Prompts(parsed.GetValue(tokens)!);
            if (prompts.Count == 0)
            {
                return 0;
            }
            int count = parsed.GetValue(greedy);
            if (count < 0)
            {
                throw new InvalidRequestException($"--greedy is {count}; it must be 0 or more.");
            }
            bool batch = parsed.GetValue(together);
            bool whole = engine.Prefill.Kind == PrefillKind.Iterative;
            int longest = prompts.Max(prompt => prompt.Length);
            int positions = ModelConfig.Load(parsed.GetValue(model.Model)!).MaxPositions;
            using LoadedModel loaded = LoadedModel.Load(parsed.GetValue(model.Model)!, engine with
            {
                NumericsClass = Numerics.Exact,
                // f32 arithmetic deserves f32 keys and values unless told otherwise.
                KvType = engine.KvType == "auto" ? "f32" : engine.KvType,
                // No more than is asked for, so that the store stays small.
                MaxContext = engine.MaxContext ?? (int)Math.Min((long)longest + Math.Max(count - 1, 0), positions),
                MaxSequences = batch ? prompts.Count : 1,
                MaxStepTokens = whole ? Math.Max(256, batch ? prompts.Sum(prompt => prompt.Length) : longest) : 256,
            });
            LogitsRun run = new(loaded, engine.Prefill);
            IEnumerable<LogitsRun.Outcome> outcomes = batch
                ? run.Run(prompts, count)
                : prompts.Select(prompt => run.Run([prompt], count)[0]);
            foreach (LogitsRun.Outcome outcome in outcomes)
            {
                Console.Out.WriteLine(Json(outcome));
            }
            if (parsed.GetValue(model.KvReport))
            {
                Console.Error.WriteLine(loaded.Store.Report().ToJson());
            }
            if (parsed.GetValue(model.Stats))
            {
                StatsPrinter.Print(loaded.Backend.Counters);
            }
            return 0;
        });
        return command;
    }

    static List<int[]> Prompts(string text)
    {
        if (text != "-")
        {
            return [ModelOptions.Tokens(text)];
        }
        List<int[]> prompts = [];
        for (int number = 1; Console.In.ReadLine() is { } line; number++)
        {
            if (line.Trim().Length == 0)
            {
                continue;
            }
            try
            {
                prompts.Add(ModelOptions.Tokens(line));
            }
            catch (InvalidRequestException wrong)
            {
                throw new InputException($"Line {number}: {wrong.Message}", wrong);
            }
        }
        return prompts;
    }

    // Floats as %.9g: every f32 survives the way to text and back.
    static string Json(in LogitsRun.Outcome outcome)
    {
        StringBuilder json = new("{\"prompt\":[");
        json.AppendJoin(',', outcome.Prompt).Append("],\"logits\":[");
        json.AppendJoin(',', outcome.Logits.Select(logit => float.IsFinite(logit) ? logit.ToString("G9", CultureInfo.InvariantCulture) : "null"));
        return json.Append("],\"greedy\":[").AppendJoin(',', outcome.Greedy).Append("]}").ToString();
    }
}
