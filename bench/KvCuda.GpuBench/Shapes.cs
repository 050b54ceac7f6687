namespace KvCuda.GpuBench;

/// <summary>The sizes of a Llama-like model.</summary>
internal sealed record ModelShape(
    string Name, int Dim, int Layers, int Heads, int KvHeads, int HeadDim, int Hidden, int Vocabulary)
{
    /// <summary>The three that results are reported for: Karpathy's 110M, TinyLlama 1.1B, Llama 2 7B.</summary>
    public static IReadOnlyList<ModelShape> All { get; } =
    [
        new("110M", 768, 12, 12, 12, 64, 2048, 32000),
        new("1.1B", 2048, 22, 32, 4, 64, 5632, 32000),
        new("7B", 4096, 32, 32, 32, 128, 11008, 32000),
    ];

    /// <summary>Small enough for the host runner: only to see that the bench itself works.</summary>
    public static ModelShape Tiny { get; } = new("tiny", 64, 2, 4, 2, 16, 128, 512);
}
