using KvCuda.Tensors;

namespace KvCuda.Kernels.Kv;

/// <summary>A <see cref="KvView"/> as kernels take it: KvPages of kernels/shared/kv_layout.cuh.</summary>
internal struct KvPages(in KvView kv)
{
    public nint Arena = kv.Arena, PageTable = kv.PageTable.Address;
    public long LayerOffset = kv.Shape.Order == KvOrder.Linear
        ? kv.LayerOffset
        : throw new InvalidOperationException("The kernels read linear pages only.");
    public int TableColumns = kv.PageTable.Columns, Unused;
}

/// <summary>What kernels that touch pages have baked in.</summary>
internal readonly record struct KvShape(DType Type, int HeadDim, int PageTokens)
{
    public KvShape(in KvView kv) : this(kv.Type, kv.HeadDim, kv.PageTokens) { }

    /// <summary>The shapes to check: the generic path's odd ones, and those of models.</summary>
    public static IEnumerable<KvShape> Samples =>
    [
        .. DeviceTypes.Floats.Select(type => new KvShape(type, 64, 16)),
        new(DType.F32, 6, 16), new(DType.F16, 80, 64), new(DType.BF16, 128, 64), new(DType.BF16, 256, 128),
    ];
}
