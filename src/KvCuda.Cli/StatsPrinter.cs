using KvCuda.Backends;

namespace KvCuda.Cli;

/// <summary>What <c>--stats</c> prints to standard error: a line per verb (and kernel), most frequent first.</summary>
internal static class StatsPrinter
{
    public static void Print(VerbCounters counters)
    {
        foreach ((string name, long count) in counters.Snapshot())
        {
            Console.Error.WriteLine($"{count,12:N0}  {name}");
        }
    }
}
