using System.Runtime.InteropServices;

namespace KvCuda.Tensors;

/// <summary>
/// How one row's next token is chosen, the same bytes on host and device, and the same token on every backend.
///
/// A draw gives the first id, in ascending order, at which the running sum of the kept ids' weights exceeds u times their
/// total; kept are, of the ids ordered by falling logit (lower id first among equals), the first TopK, of those the shortest
/// run that reaches TopP of their weight, and of those the ones with at least MinP of the largest weight.
///
/// Before that the repetition penalty changes logits (Keskar et al. 2019: a seen token's logit is divided by it if positive,
/// else multiplied). Weights are exp((logit - largest) * (1 / Temperature)) in whole <see cref="Units"/>, rounded to the
/// nearest, ties to even; temperature 0 is greedy: the lowest id with the largest logit. u is in [0, 1): the upper 24 bits of
/// the first word of Philox4x32-10 (Salmon et al. 2011) with key (SeedLow, SeedHigh) and counter (Step, 0, 0, 0), over 2^24.
/// A row with a logit that is NaN or plus infinity, or with none above minus infinity, gives -1.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SampleRow
{
    /// <summary>Number of 32-bit words of this struct.</summary>
    public const int Words = 10;

    /// <summary>Weights count in units of 2^-38 of the largest one.</summary>
    public const int UnitBits = 38;

    /// <summary>The largest weight.</summary>
    public const long Units = 1L << UnitBits;

    /// <summary>What a row without an answer gives instead of a token.</summary>
    public const int NoToken = -1;

    /// <summary>What that means, for people.</summary>
    public const string NoTokenMessage = "The model's logits are NaN or infinite, so there is no next token: its weights are "
        + "damaged, or activations left the range of a 16-bit type. Check the files; try the device cpu, which computes in f32.";

    /// <summary>Divides the logits; 0 is greedy.</summary>
    public float Temperature;

    /// <summary>Keep the N likeliest tokens; 0 keeps all.</summary>
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

    /// <summary>The least weight that MinP keeps.</summary>
    public readonly long LeastWeight => (long)Math.Ceiling(Math.Clamp((double)MinP, 0, 1) * Units);

    /// <summary>The weight at which TopP is reached; at least one unit.</summary>
    /// <param name="total">of the ids that TopK keeps</param>
    public readonly long ShareOf(long total) => Math.Max(1, (long)(Math.Max((double)TopP, 0) * total));

    /// <summary>The largest whole number that is not above u * total.</summary>
    public readonly long BoundOf(long total)
    {
        long word = Philox.FirstWord(SeedLow, SeedHigh, (uint)Step, 0, 0, 0) >> 8;
        return (total >> 24) * word + ((total & 0xFF_FFFF) * word >> 24);
    }

    /// <summary>A seen token's logit; finite if it was.</summary>
    public readonly float Penalised(float logit) => float.IsFinite(logit)
        ? Math.Clamp(logit > 0 ? logit / RepetitionPenalty : logit * RepetitionPenalty, -float.MaxValue, float.MaxValue)
        : logit;
}
