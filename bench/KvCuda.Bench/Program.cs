using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.NoEmit;
using KvCuda.Bench.Cpu;
using KvCuda.Bench.Engine;
using KvCuda.Bench.KvStore;

switch (args.FirstOrDefault())
{
    case "ttft":
        return await TimeToFirstToken.Run(args[1..]).ConfigureAwait(false);
    case "products":
        return Products.Run(args[1..]);
    case "kv-steps":
        return StepCosts.Run();
    default:
        // In this process: benchmarks reach what is internal, and nothing has to be built again.
        IConfig config = DefaultConfig.Instance.AddJob(Job.ShortRun.WithToolchain(InProcessNoEmitToolchain.Instance));
        return Check([.. BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args, config)]);
}

// A row without a figure, or bytes where none were promised, is a failure.
static int Check(Summary[] summaries)
{
    string[] quiet = ["decode-step", "sample-", "store-step", "product", "attention"];
    int wrong = 0;
    foreach (BenchmarkReport report in summaries.SelectMany(summary => summary.Reports))
    {
        string name = report.BenchmarkCase.DisplayInfo, what = report.BenchmarkCase.Parameters["Name"]?.ToString() ?? "";
        long bytes = report.GcStats.GetBytesAllocatedPerOperation(report.BenchmarkCase) ?? 0;
        if (report.ResultStatistics is null)
        {
            Console.Error.WriteLine($"bench: {name} gave no figure");
            wrong++;
        }
        else if (bytes > 0 && quiet.Any(start => what.StartsWith(start, StringComparison.Ordinal)))
        {
            Console.Error.WriteLine($"bench: {name} allocates {bytes} bytes per operation; 0 were promised");
            wrong++;
        }
    }
    return wrong == 0 ? 0 : 1;
}
