// The least time that a pass can take on a machine whose ceilings were measured.
namespace KvCuda.Study;

/// <summary>
/// The least time of a pass: its weights and visible keys and values read once at read bandwidth, or its arithmetic at the
/// best measured rate, whichever takes longer.
/// </summary>
internal static class Roofline
{
    /// <param name="bytes">that must be read</param>
    /// <param name="flops">multiplications plus additions</param>
    /// <param name="bytesPerSecond">read bandwidth; 0: not known</param>
    /// <param name="flopsPerSecond">arithmetic; 0: not known</param>
    /// <returns>seconds; 0 where no ceiling is known</returns>
    public static double Seconds(double bytes, double flops, double bytesPerSecond, double flopsPerSecond)
    {
        double memory = bytesPerSecond > 0 ? bytes / bytesPerSecond : 0;
        double arithmetic = flopsPerSecond > 0 ? flops / flopsPerSecond : 0;
        return Math.Max(memory, arithmetic);
    }
}
