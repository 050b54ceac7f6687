using KvCuda.Gpu;
using KvCuda.Tensors;

namespace KvCuda.Kernels.Sample;

/// <summary>
/// The next token of each row, greedy or drawn, as <see cref="Tensors.SampleRow"/> states. Device code:
/// kernels/sample/sample_row.cu.
/// </summary>
internal sealed class SampleRow(KernelLibrary library) : IKernel
{
    const int Threads = 512;

    // The kernel adds up parts of weights in 32 bits.
    const int MostVocabulary = 1 << 19;

    public struct Args
    {
        public nint Tokens, Logits, Parameters, History;
        public int Vocabulary, Unused;
    }

    readonly Variants<int, Args> variants = new(library, _ => Source());

    /// <summary>512 threads have 128 registers each; 1024 spilled. Shared memory is the histogram: four tables of 256.</summary>
    public static KernelBudget Budget => new(Registers: 64, SharedBytes: 5 << 10);

    public static IEnumerable<KernelSource> Sources => [Source()];

    static KernelSource<Args> Source() => new("sample/sample_row.cu", ("THREADS", Threads));

    /// <param name="stream">where it is queued</param>
    /// <param name="tokens">(1, rows) i32</param>
    /// <param name="logits">(rows, vocabulary) f32; penalties are applied in place</param>
    /// <param name="parameters">(rows, words) i32: one <see cref="Tensors.SampleRow"/> per row</param>
    /// <param name="history">(1, n) i32</param>
    /// <exception cref="ArgumentException">The vocabulary has more than 2^19 ids.</exception>
    public void Launch(GpuStream stream, in Tensor tokens, in Tensor logits, in Tensor parameters, in Tensor history)
    {
        if (logits.Columns > MostVocabulary)
        {
            throw new ArgumentException($"sample_row takes up to {MostVocabulary:N0} ids; {logits} has {logits.Columns:N0}.");
        }
        variants[0].Launch(stream, new Grid(logits.Rows, Threads), new()
        {
            Tokens = tokens.Address, Logits = logits.Address, Parameters = parameters.Address, History = history.Address,
            Vocabulary = logits.Columns,
        });
    }
}
