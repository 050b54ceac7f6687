using KvCuda.Tensors;

namespace KvCuda.KvStore;

/// <summary>
/// The owning layers that keep the same tokens in the same shape: one kind of page. There is one class per distinct
/// <see cref="LayerSharing.OwnerWindow"/> and shape.
/// </summary>
/// <param name="Window">tokens that must be kept, the newest included; 0: all</param>
/// <param name="Shape">one owner's part of a page</param>
/// <param name="Owners">the layers whose keys and values a page holds, in the page's order</param>
/// <param name="PageBytes">bytes of one page, a whole number of granules</param>
internal sealed record KvClass(int Window, KvPageShape Shape, IReadOnlyList<int> Owners, long PageBytes)
{
    /// <summary>Whether every token is kept.</summary>
    public bool IsFull => Window == 0;
}

/// <summary>
/// How keys and values of a model are cut in pages: a page of a class holds <see cref="PageTokens"/> tokens of all its
/// owners as [layer][K|V][kv head][token][head dim]. The only maker of <see cref="KvView"/>. Immutable.
/// </summary>
internal sealed class KvLayout
{
    readonly KvClass[] classes;
    readonly int[] classOfLayer;
    readonly int[] placeOfLayer; // among the owners of its class

    /// <summary>A layout whose owners all have the same shape.</summary>
    public KvLayout(LayerSharing sharing, int kvHeads, int headDim, DType type, int pageTokens)
        : this(sharing, _ => new(kvHeads, headDim), type, pageTokens)
    {
    }

    /// <param name="sharing">who owns, and through which windows owners are read</param>
    /// <param name="shapeOf">heads of an owning layer</param>
    /// <param name="type">f32, f16 or bf16</param>
    /// <param name="pageTokens">tokens per page, a power of two</param>
    /// <param name="order">how the backend wants rows; shapes that cannot be swizzled stay linear</param>
    /// <exception cref="InvalidRequestException">A number is out of range, or layers that keep all tokens differ in shape.</exception>
    public KvLayout(LayerSharing sharing, Func<int, KvHeadShape> shapeOf, DType type, int pageTokens,
        KvOrder order = KvOrder.Linear)
    {
        ArgumentNullException.ThrowIfNull(sharing);
        ArgumentNullException.ThrowIfNull(shapeOf);
        if (pageTokens <= 0 || (pageTokens & (pageTokens - 1)) != 0)
        {
            throw new InvalidRequestException(
                $"A page holds {pageTokens} tokens; it must be a power of two, such as 16, 32 or 64.");
        }
        if (type is not (DType.F32 or DType.F16 or DType.BF16))
        {
            throw new InvalidRequestException($"Keys and values cannot be kept as {type.Name()}; use f32, f16 or bf16.");
        }
        Sharing = sharing;
        Type = type;
        PageTokens = pageTokens;

        classOfLayer = new int[sharing.Layers];
        placeOfLayer = new int[sharing.Layers];
        Array.Fill(classOfLayer, -1);
        var kinds = sharing.Owners.GroupBy(owner => (Window: sharing.OwnerWindow(owner), Shape: ShapeOf(owner)))
            .OrderBy(kind => kind.Key.Window).ThenBy(kind => kind.First()).ToArray();
        if (kinds.Length > 1 && kinds[1].Key.Window == 0)
        {
            // The prefix tree's leaves are those of one full class.
            throw new InvalidRequestException($"Layers {kinds[0].First()} and {kinds[1].First()} keep all tokens in different shapes "
                + $"({Words(kinds[0].Key.Shape)} and {Words(kinds[1].Key.Shape)}); layers may differ in shape only by their window.");
        }
        classes = new KvClass[kinds.Length];
        for (int c = 0; c < kinds.Length; c++)
        {
            int[] owners = [.. kinds[c]];
            for (int i = 0; i < owners.Length; i++)
            {
                (classOfLayer[owners[i]], placeOfLayer[owners[i]]) = (c, i);
            }
            KvPageShape shape = kinds[c].Key.Shape;
            long granules = checked((owners.Length * shape.LayerBytes + KvPageShape.GranuleBytes - 1) / KvPageShape.GranuleBytes);
            classes[c] = new(kinds[c].Key.Window, shape, owners, checked(granules * KvPageShape.GranuleBytes));
        }

        static string Words(KvPageShape shape) => $"{shape.KvHeads} heads of {shape.HeadDim}";

        KvPageShape ShapeOf(int owner)
        {
            KvHeadShape heads = shapeOf(owner);
            Positive(heads.Heads, "kvHeads");
            Positive(heads.Dim, "headDim");
            _ = checked(2L * heads.Heads * heads.Dim * type.Bytes() * pageTokens * sharing.Layers);
            return new KvPageShape(pageTokens, heads.Heads, heads.Dim, 8 * type.Bytes()).In(order);
        }
    }

    public LayerSharing Sharing { get; }
    public DType Type { get; }

    /// <summary>Tokens per page, a power of two.</summary>
    public int PageTokens { get; }

    /// <summary>The kinds of pages, by ascending window; the full class (window 0), if any, is the first.</summary>
    public IReadOnlyList<KvClass> Classes => classes;

    /// <summary>The class of an owning layer.</summary>
    /// <exception cref="ArgumentException">The layer owns nothing.</exception>
    public int ClassOf(int owner)
    {
        Sharing.OwnerIndex(owner);
        return classOfLayer[owner];
    }

    /// <summary>Bytes from a page's start to this layer's keys.</summary>
    /// <exception cref="ArgumentException">The layer owns nothing.</exception>
    public long LayerOffset(int owner) => placeOfLayer[owner] * classes[ClassOf(owner)].Shape.LayerBytes;

    /// <summary>Where an owner's keys and values live.</summary>
    /// <param name="owner">an owning layer</param>
    /// <param name="arena">address of the arena's first byte</param>
    /// <param name="tableOfClass">the page table of a class</param>
    /// <exception cref="ArgumentException">The layer owns nothing.</exception>
    public KvView ViewOf(int owner, nint arena, Func<int, Tensor> tableOfClass)
    {
        int c = ClassOf(owner);
        return new(arena, LayerOffset(owner), classes[c].Shape, Type, tableOfClass(c));
    }

    /// <summary>Bytes of keys and values of one token in all owning layers, as long as no window has passed it.</summary>
    public long BytesPerToken => Sharing.Owners.Sum(BytesPerTokenOf);

    /// <summary>Bytes of one token in one layer: 0 if it owns nothing.</summary>
    public long BytesPerTokenOf(int layer) => Sharing.Owns(layer) ? classes[classOfLayer[layer]].Shape.TokenBytes : 0;

    /// <summary>
    /// The slab size for a budget: the smallest multiple of 2 MiB that wastes less than 2 % for every kind of page; for a
    /// budget of few such slabs, the size of a few pages that leaves the least unused.
    /// </summary>
    public long SlabBytes(long budgetBytes)
    {
        const long unit = 2L << 20;
        long largest = classes.Max(c => c.PageBytes);
        long limit = budgetBytes / (16L * classes.Length);
        for (long slab = unit; slab <= Math.Min(limit, 64 * unit); slab += unit)
        {
            if (slab >= largest && Waste(slab) < 0.02)
            {
                return slab;
            }
        }

        long best = largest;
        double bestWaste = double.MaxValue;
        foreach (KvClass c in classes)
        {
            for (int pages = 1; pages <= 64; pages++)
            {
                long slab = c.PageBytes * pages;
                if (slab < largest || slab > Math.Max(limit, largest))
                {
                    continue;
                }
                double waste = Waste(slab) + (double)(budgetBytes % slab) / Math.Max(1, budgetBytes);
                if (waste < bestWaste - 0.001 || (waste <= bestWaste + 0.001 && slab < best))
                {
                    (best, bestWaste) = (slab, Math.Min(waste, bestWaste));
                }
            }
        }
        return best;
    }

    double Waste(long slab) => classes.Max(c => (double)(slab % c.PageBytes) / slab);

    static void Positive(int value, string name)
    {
        if (value <= 0)
        {
            throw new InvalidRequestException($"{name} of the KV layout is {value}; it must be positive.");
        }
    }
}
