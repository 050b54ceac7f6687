using KvCuda.Gpu;
using KvCuda.Tensors;

namespace KvCuda.Kernels.Sample;

/// <summary>The lowest token with the largest logit of each row. Device code: kernels/sample/argmax.cu.</summary>
internal sealed class Argmax(KernelLibrary library) : IKernel
{
    const int Threads = 1024;

    public struct Args
    {
        public nint Tokens, Logits;
        public int Vocabulary, Unused;
    }

    readonly Variants<int, Args> variants = new(library, _ => Source());

    /// <summary>1024 threads have 64 registers each.</summary>
    public static KernelBudget Budget => new(Registers: 40, SharedBytes: 256);

    public static IEnumerable<KernelSource> Sources => [Source()];

    static KernelSource<Args> Source() => new("sample/argmax.cu", ("THREADS", Threads));

    /// <param name="stream">where it is queued</param>
    /// <param name="tokens">(1, rows) i32</param>
    /// <param name="logits">(rows, vocabulary) f32</param>
    public void Launch(GpuStream stream, in Tensor tokens, in Tensor logits) =>
        variants[0].Launch(stream, new Grid(logits.Rows, Threads), new()
        {
            Tokens = tokens.Address, Logits = logits.Address, Vocabulary = logits.Columns,
        });
}
