using System.Runtime.InteropServices;

namespace KvCuda.Tensors;

/// <summary>
/// How one row's next token is chosen, the same bytes on host and device. In this order: repetition penalty
/// (Keskar et al. 2019: a seen token's logit is divided by it if positive, else multiplied), temperature, then of the
/// tokens sorted by probability (lower id first on ties) the first TopK, then the shortest run whose probability
/// reaches TopP, then those of at least MinP times the largest probability; the survivors' probabilities are
/// renormalised and the first whose running sum (in that order) exceeds u is taken. u is in [0, 1): the upper 24 bits of the
/// first word of Philox4x32-10 (Salmon et al. 2011) with key (SeedLow, SeedHigh) and counter (Step, 0, 0, 0), over 2^24.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SampleRow
{
    /// <summary>Number of 32-bit words of this struct.</summary>
    public const int Words = 10;

    /// <summary>Divides the logits; 0 is greedy.</summary>
    public float Temperature;

    /// <summary>Keep so many tokens; 0 keeps all.</summary>
    public int TopK;

    /// <summary>Keep the smallest set of this probability; 1 keeps all.</summary>
    public float TopP;

    /// <summary>Keep tokens of at least this share of the likeliest one's probability; 0 keeps all.</summary>
    public float MinP;

    /// <summary>1 changes nothing.</summary>
    public float RepetitionPenalty;

    /// <summary>The row's tokens in the history tensor: [HistoryStart, HistoryStart + HistoryCount).</summary>
    public int HistoryStart, HistoryCount;

    /// <summary>Key of the random number: low and high word of the seed.</summary>
    public uint SeedLow, SeedHigh;

    /// <summary>Counter of the random number: the position of the token that is being chosen.</summary>
    public int Step;
}
