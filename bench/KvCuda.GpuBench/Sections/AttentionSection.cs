using KvCuda.Backends.Cuda;
using KvCuda.Tensors;

namespace KvCuda.GpuBench;

/// <summary>Attention alone, at the lengths where it decides.</summary>
internal static class AttentionSection
{
    // GQA 8 with both head dims that matter, and a model without groups.
    static readonly ModelShape[] shapes =
    [
        new("hd64-gqa8", 2048, 1, 32, 4, 64, 1, 1), new("hd128-gqa8", 4096, 1, 32, 4, 128, 1, 1), new("hd128-mha", 4096, 1, 32, 32, 128, 1, 1),
    ];

    static readonly ModelShape[] tiny = [new("hd64-gqa8", 512, 1, 8, 1, 64, 1, 1), new("hd128-gqa2", 256, 1, 2, 1, 128, 1, 1)];

    /// <summary>One token of each sequence over all its pages.</summary>
    public static void RunDecode(Bench bench)
    {
        using CudaBackend backend = bench.Open();
        int context = bench.Tiny ? 200 : 32768;
        foreach (ModelShape shape in bench.Tiny ? tiny : shapes)
        {
            foreach (int sequences in bench.Tiny ? [1, 2] : shape.KvHeads == 32 ? [1, 8] : new[] { 1, 8, 32 })
            {
                using var verbs = new VerbBench(backend, shape, DType.BF16, pageTokens: 64, bench.Tiny);
                VerbResult result = verbs.Attend(sequences, context, 1);
                double share = bench.Ceilings.CopyBytesPerSecond > 0
                    ? result.Bytes / (result.Microseconds * 1e-6) / bench.Ceilings.CopyBytesPerSecond : double.NaN;
                // The targets are those of grouped queries; without groups there is more to read for the same work.
                bench.Add(new($"attention/{shape.Name}/{sequences}", $"head dim {shape.HeadDim}, {shape.Heads}/{shape.KvHeads} heads, {sequences} x {context} tokens",
                    result.Microseconds, "us")
                {
                    Microseconds = result.Microseconds, Bytes = result.Bytes, Share = share, Of = "copy", Target = Targets.Attention(sequences),
                });
            }
        }
    }

    /// <summary>A whole prompt at once.</summary>
    public static void RunPrefill(Bench bench)
    {
        using CudaBackend backend = bench.Open();
        foreach (ModelShape shape in (bench.Tiny ? tiny : shapes).Where(s => s.KvHeads < s.Heads))
        {
            foreach (int prompt in bench.Tiny ? [24] : new[] { 2048, 8192, 16384 })
            {
                using var verbs = new VerbBench(backend, shape, DType.BF16, pageTokens: 64, bench.Tiny);
                VerbResult result = verbs.Attend(1, prompt, prompt);
                double share = bench.Ceilings.CublasFlopsPerSecond > 0
                    ? result.Flops / (result.Microseconds * 1e-6) / bench.Ceilings.CublasFlopsPerSecond : double.NaN;
                bench.Add(new($"prefill-attention/{shape.Name}/{prompt}", $"head dim {shape.HeadDim}, {shape.Heads}/{shape.KvHeads} heads, {prompt} tokens",
                    result.Microseconds, "us")
                {
                    Microseconds = result.Microseconds, Flops = result.Flops, Share = share, Of = "cuBLAS",
                    Target = prompt >= 8192 || bench.Tiny ? Targets.PromptAttention(shape.HeadDim) : null,
                });
            }
        }
    }
}
