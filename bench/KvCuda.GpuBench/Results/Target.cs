namespace KvCuda.GpuBench;

/// <summary>What a figure should reach: where it is credible, and where it is as good as the best known.</summary>
/// <param name="Credible">the least that counts</param>
/// <param name="Ambitious">what is aimed at</param>
/// <param name="Less">a smaller figure is a better one: times</param>
internal sealed record Target(double Credible, double Ambitious, bool Less = false)
{
    /// <summary>"ambitious", "credible" or "missed"; "reached" where both are one.</summary>
    public string Verdict(double value) => !Reaches(value, Credible) ? "missed"
        : Credible == Ambitious ? "reached"
        : Reaches(value, Ambitious) ? "ambitious" : "credible";

    bool Reaches(double value, double aim) => Less ? value <= aim : value >= aim;
}

/// <summary>Every target there is. Shares are of what the same run measured; bench/results/README.md says where they come from.</summary>
internal static class Targets
{
    /// <summary>Decode of one sequence: share of copy bandwidth.</summary>
    public static Target? Decode(string model) => model switch
    {
        "1.1B" => new(0.65, 0.80),
        "7B" => new(0.80, 0.90),
        _ => null,
    };

    /// <summary>Paged decode attention over 32k tokens: share of copy bandwidth.</summary>
    public static Target Attention(int sequences) => sequences >= 8 ? new(0.80, 0.90) : new(0.50, 0.70);

    /// <summary>Decode of several sequences at 1k tokens: share of their roofline.</summary>
    public static Target? Batch(int sequences) => sequences switch
    {
        8 => new(0.62, 0.78),
        32 => new(0.60, 0.77),
        128 => new(0.52, 0.72),
        _ => null,
    };

    /// <summary>Products of prompts: share of cuBLAS on the same shape.</summary>
    public static Target Gemm => new(0.80, 0.92);

    /// <summary>Causal attention of prompts from 8k tokens: share of the cuBLAS rate.</summary>
    public static Target? PromptAttention(int headDim) => headDim switch
    {
        64 => new(0.35, 0.52),
        128 => new(0.40, 0.65),
        _ => null,
    };

    /// <summary>Throughput with shared keys and values at a budget of half the weights: share of <see cref="SharingLaw"/>.</summary>
    public static Target Sharing => new(0.95, 1.0);

    /// <summary>Microseconds of host work per decode step.</summary>
    public static Target HostWork => new(10, 10, Less: true);

    /// <summary>Microseconds of a decode step in which the device waits for the host.</summary>
    public static Target Exposed => new(10, 1, Less: true);

    /// <summary>Seconds to the first token with cached kernels, without the copy of the weights.</summary>
    public static Target StartUp => new(0.5, 0.3, Less: true);

    /// <summary>Tokens per second over those of the best peer.</summary>
    public static Target? Peers(int sequences) => sequences switch
    {
        1 => new(1.3, 1.3),
        32 => new(1.0, 1.0),
        _ => null,
    };
}
