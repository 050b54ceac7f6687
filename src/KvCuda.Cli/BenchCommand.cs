// `kvcuda bench` and `kvcuda compare`: samples of this build, and two builds judged in one run.
using System.CommandLine;
using KvCuda.Study;

namespace KvCuda.Cli;

/// <summary>Samples of this build.</summary>
internal static class BenchCommand
{
    internal static Argument<string> ModelArgument() => new("MODEL")
    {
        Description = "A model folder. Default: weights/demo.", Arity = ArgumentArity.ZeroOrOne, DefaultValueFactory = _ => "weights/demo",
    };

    public static Command Create()
    {
        Argument<string> model = ModelArgument();
        Option<int> threads = new("--threads") { Description = "Threads of the CPU backend; 0 is one per core." };
        Option<int> samples = new("--samples") { Description = "Samples of each benchmark, 30 ms each.", DefaultValueFactory = _ => 9 };
        Option<string?> filter = new("--filter") { Description = "Benchmarks whose name contains this." };
        Option<string?> json = new("--json") { Description = "Also write a result file with all samples and counts." };
        Option<bool> child = new("--child") { Description = "Answer `kvcuda compare`.", Hidden = true };
        Command command = new("bench", "Time decode steps, prompts, sampling, bookkeeping and tokens of this build; count verbs, bytes and allocations.") { model };
        foreach (Option option in new Option[] { threads, samples, filter, json, child })
        {
            command.Add(option);
        }
        command.SetAction(parsed =>
        {
            string folder = Existing(parsed.GetValue(model)!);
            TextWriter output = parsed.InvocationConfiguration.Output;
            if (parsed.GetValue(child))
            {
                return BenchChild.Serve(folder, parsed.GetValue(threads), Console.In, output);
            }
            int count = parsed.GetValue(samples);
            if (count < 1)
            {
                throw new InvalidRequestException("--samples is at least 1.");
            }
            using var set = new BenchmarkSet(folder, parsed.GetValue(threads));
            string name = Path.GetFileName(Path.GetFullPath(folder).TrimEnd(Path.DirectorySeparatorChar));
            List<Cell> cells = [];
            output.WriteLine($"  {"benchmark",-24} {"median, us",12} {"least",12} {"bytes allocated",16}   what");
            foreach (Benchmark benchmark in set.All.Where(b => parsed.GetValue(filter) is not { } text || b.Name.Contains(text, StringComparison.Ordinal)))
            {
                double[] times = [.. Enumerable.Range(0, count).Select(_ => benchmark.Sample())];
                double bytes = benchmark.Allocated();
                Cell cell = Cell.Of(name, "", "", benchmark.Name, "", "us", "lower", times);
                cells.AddRange([cell, new(name, "", "", benchmark.Name + "/allocated", "", "bytes", bytes) { Better = "lower" }]);
                output.WriteLine($"  {benchmark.Name,-24} {Cell.Number(cell.Value),12} {Cell.Number(times.Min()),12} {Cell.Number(bytes),16}   {benchmark.About}");
            }
            foreach ((string verb, long calls) in set.VerbsPerStep())
            {
                cells.Add(new(name, "", "", $"verbs/{verb}", "decode step", "calls", calls) { Exact = true, Better = "lower" });
            }
            output.WriteLine($"  verbs per decode step: {string.Join(", ", set.VerbsPerStep().Select(pair => $"{pair.Verb} {pair.Count}"))}");
            if (parsed.GetValue(json) is { } path)
            {
                string line = "kvcuda " + string.Join(' ', parsed.Tokens.Select(token => token.Value));
                File.WriteAllText(path, ResultSet.Of(MachineInfo.Here(parsed.GetValue(threads), "cpu"), line, cells).Json());
            }
            return CommandLine.Done;
        });
        return command;
    }

    internal static string Existing(string folder) => Directory.Exists(folder) ? folder : throw new InvalidRequestException($"There is no model folder at {folder}.");
}

/// <summary>Two builds.</summary>
internal static class CompareCommand
{
    public static Command Create()
    {
        Argument<string> baseBuild = new("BASE") { Description = "A build: a folder with KvCuda.Cli.dll, a checkout that was built, or a file." };
        Argument<string> head = new("HEAD") { Description = "The other one." };
        Argument<string> model = BenchCommand.ModelArgument();
        Option<int> threads = new("--threads") { Description = "Threads of the CPU backend; 0 is one per core." };
        Option<int> rounds = new("--rounds") { Description = $"Turns of base, base again and head; at least {CompareRun.LeastRounds}.", DefaultValueFactory = _ => 15 };
        Option<double> relative = new("--threshold") { Description = "A difference of this share matters.", DefaultValueFactory = _ => Thresholds.Default.Relative };
        Option<double> absolute = new("--absolute") { Description = "And of this many microseconds.", DefaultValueFactory = _ => Thresholds.Default.AbsoluteMicroseconds };
        Option<string?> kernels = new("--kernels") { Description = "Also compile kernels and count registers, spills, shared memory, SASS, launches: all, or those whose name contains this.", Arity = ArgumentArity.ZeroOrOne };
        Option<string?> markdown = new("--markdown") { Description = "Also write the report to this file." };
        Option<string?> json = new("--json") { Description = "Also write a result file with all samples and counts." };
        Command command = new("compare", "Judge two builds in one run: same, faster, slower, ambiguous, or machine unfit. Exit code 1 if something is slower or a count grew.")
        {
            baseBuild, head, model,
        };
        foreach (Option option in new Option[] { threads, rounds, relative, absolute, kernels, markdown, json })
        {
            command.Add(option);
        }
        command.SetAction((parsed, cancellation) =>
        {
            int turns = parsed.GetValue(rounds);
            if (turns < CompareRun.LeastRounds)
            {
                throw new InvalidRequestException($"--rounds is at least {CompareRun.LeastRounds}: with fewer, ranks tell nothing.");
            }
            if (parsed.GetValue(relative) is not (> 0 and < 1) || !(parsed.GetValue(absolute) >= 0))
            {
                throw new InvalidRequestException("--threshold lies between 0 and 1, --absolute is 0 or more.");
            }
            string a = parsed.GetValue(baseBuild)!, b = parsed.GetValue(head)!;
            BenchProcess.Program(a);
            BenchProcess.Program(b);
            string line = "kvcuda " + string.Join(' ', parsed.Tokens.Select(token => token.Value));
            bool withKernels = parsed.GetResult(kernels) is { Implicit: false };
            CompareRun run = CompareRun.Measure(a, b, BenchCommand.Existing(parsed.GetValue(model)!), parsed.GetValue(threads), turns,
                withKernels ? parsed.GetValue(kernels) ?? "" : null, new(parsed.GetValue(relative), parsed.GetValue(absolute), Thresholds.Default.Alpha), line,
                parsed.InvocationConfiguration.Error.WriteLine, cancellation);
            string report = run.Markdown();
            parsed.InvocationConfiguration.Output.Write(report);
            if (parsed.GetValue(markdown) is { } path)
            {
                File.WriteAllText(path, report);
            }
            if (parsed.GetValue(json) is { } file)
            {
                File.WriteAllText(file, run.Results().Json());
            }
            return Task.FromResult(run.Fails ? CommandLine.JobFailed : CommandLine.Done);
        });
        return command;
    }
}
