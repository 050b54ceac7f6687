namespace KvCuda.Study;

/// <summary>
/// What sharing keys and values can gain at a fixed budget. A map that keeps 1/s of the layers lets s times as many
/// sequences in, but every layer still reads its target's keys and values, so a step moves the weights once and s times the
/// budget: with m = budget / weights and o = a step's fixed cost in units of the time that the weights take,
///
///     R(s) = s (1 + m + o) / (1 + s m + o).
///
/// R goes to s where the budget is small beside the weights (or the fixed cost large), and to 1 where it is large.
/// </summary>
internal static class SharingLaw
{
    /// <param name="gain">s: sequences over those of the standard map</param>
    /// <param name="budget">m: bytes read of pages at the standard map over bytes of weights</param>
    /// <param name="overhead">o</param>
    public static double Ratio(double gain, double budget, double overhead) =>
        gain * (1 + budget + overhead) / (1 + (gain * budget) + overhead);

    /// <summary>o, from a measured step of the standard map; never negative.</summary>
    /// <param name="stepSeconds">the step</param>
    /// <param name="weightBytes">bytes of weights</param>
    /// <param name="kvBytes">bytes of keys and values that the step reads</param>
    /// <param name="bytesPerSecond">read bandwidth</param>
    public static double Overhead(double stepSeconds, double weightBytes, double kvBytes, double bytesPerSecond) =>
        Math.Max(0, ((stepSeconds * bytesPerSecond) - weightBytes - kvBytes) / weightBytes);
}
