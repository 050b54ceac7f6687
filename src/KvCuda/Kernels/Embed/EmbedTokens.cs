using KvCuda.Gpu;
using KvCuda.Tensors;

namespace KvCuda.Kernels.Embed;

/// <summary>x[r,:] = table[index[r],:], or += (learned positions). Device code: kernels/embed/embed_tokens.cu.</summary>
internal sealed class EmbedTokens(KernelLibrary library) : IKernel
{
    const int Threads = 256;

    readonly record struct Variant(DType Table, bool Add);

    public struct Args
    {
        public nint X, Table, Index;
        public int Dim, Vocabulary;
    }

    readonly Variants<Variant, Args> variants = new(library, Source);

    /// <summary>One number per thread: nothing to keep.</summary>
    public static KernelBudget Budget => new(Registers: 24);

    public static IEnumerable<KernelSource> Sources =>
        from table in DeviceTypes.Floats from add in DeviceTypes.NoYes select Source(new(table, add));

    static KernelSource<Args> Source(Variant variant) => new("embed/embed_tokens.cu",
        ("TABLE", variant.Table.DeviceName()), ("ADD", variant.Add ? 1 : 0), ("THREADS", Threads));

    /// <param name="stream">where it is queued</param>
    /// <param name="x">(rows, dim) f32</param>
    /// <param name="table">(vocabulary, dim)</param>
    /// <param name="index">(1, rows) i32</param>
    /// <param name="add">add to x instead of replacing it</param>
    public void Launch(GpuStream stream, in Tensor x, in Tensor table, in Tensor index, bool add) =>
        variants[new(table.Type, add)].Launch(stream, new Grid(x.Rows, Grid.Blocks(x.Columns, Threads), 1, Threads), new()
        {
            X = x.Address, Table = table.Address, Index = index.Address, Dim = x.Columns, Vocabulary = table.Rows,
        });
}
