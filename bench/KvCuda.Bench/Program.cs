using BenchmarkDotNet.Running;
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
        BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args);
        return 0;
}
