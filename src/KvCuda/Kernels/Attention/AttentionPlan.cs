namespace KvCuda.Kernels.Attention;

/// <summary>Which kernels attention runs on, and why: a pure function of the call's shape, first matching row wins.</summary>
/// <param name="Kernel">what makes the chunks</param>
/// <param name="Split">chunks go to scratch and are merged by a second launch</param>
/// <param name="Reason">for people</param>
internal readonly record struct AttentionPlan(AttentionPlan.Kind Kernel, bool Split, string Reason)
{
    internal enum Kind
    {
        Exact,
        Decode,
        Prefill,
    }

    /// <summary>Partial results of one call may take so much memory; longer or larger ones are merged as they are made.</summary>
    public const long MostScratchBytes = 64L << 20;

    /// <param name="tensorCores">the KV's type and head dim suit them, and exactness is not asked for</param>
    /// <param name="rows">rows of q</param>
    /// <param name="sequences">rows of the page table</param>
    /// <param name="blocks">blocks of a launch with one row per block</param>
    /// <param name="chunks">chunks of the longest sequence that the page table can hold</param>
    /// <param name="scratchBytes">what partial results would take</param>
    /// <param name="multiprocessors">SMs of the device</param>
    public static AttentionPlan Choose(bool tensorCores, int rows, int sequences, int blocks, int chunks, long scratchBytes,
        int multiprocessors)
    {
        bool splits = chunks > 1 && scratchBytes <= MostScratchBytes && blocks < 3 * multiprocessors;
        string why = splits ? "too few blocks to fill the device: a block per chunk"
            : chunks <= 1 ? "one chunk at most"
            : blocks >= 3 * multiprocessors ? "enough blocks to fill the device"
            : "partial results would take too much memory";
        return !tensorCores ? new(Kind.Exact, splits, why)
            : rows >= 2 * sequences ? new(Kind.Prefill, false, "several rows per sequence: tiles of rows")
            : splits ? new(Kind.Decode, true, why)
            : new(Kind.Decode, false, why);
    }
}
