namespace KvCuda.GpuBench;

/// <summary>
/// The least time of a pass: its weights and visible keys and values read once at read bandwidth, or its arithmetic at
/// cuBLAS's rate, whichever takes longer.
/// </summary>
internal static class Roofline
{
    /// <returns>seconds; 0 where no ceiling is known</returns>
    public static double Seconds(double bytes, double flops, Ceilings ceilings)
    {
        double memory = ceilings.ReadBytesPerSecond > 0 ? bytes / ceilings.ReadBytesPerSecond : 0;
        double arithmetic = ceilings.CublasFlopsPerSecond > 0 ? flops / ceilings.CublasFlopsPerSecond : 0;
        return Math.Max(memory, arithmetic);
    }
}
