using KvCuda.Tensors;

namespace KvCuda.KvStore;

/// <summary>
/// The owning layers that keep the same tokens: one kind of page. There is one class per distinct
/// <see cref="LayerSharing.OwnerWindow"/>.
/// </summary>
/// <param name="Window">tokens that must be kept, the newest included; 0: all</param>
/// <param name="Sinks">with a window: the first so many tokens are kept as well</param>
/// <param name="Owners">the layers whose keys and values a page holds, in the page's order</param>
/// <param name="PageBytes">bytes of one page, a whole number of granules</param>
internal sealed record KvClass(int Window, int Sinks, IReadOnlyList<int> Owners, long PageBytes)
{
    /// <summary>Whether every token is kept.</summary>
    public bool IsFull => Window == 0;
}

/// <summary>
/// How keys and values of a model are cut in pages: a page of a class holds <see cref="PageTokens"/> tokens of all its
/// owners as [layer][K|V][kv head][token][head dim]. Immutable.
/// </summary>
internal sealed class KvLayout
{
    /// <summary>Bytes of the unit in which page tables count.</summary>
    public const int DefaultGranuleBytes = 128;

    readonly KvClass[] classes;
    readonly int[] classOfLayer;
    readonly long[] offsetOfLayer;

    public KvLayout(LayerSharing sharing, int kvHeads, int headDim, DType type, int pageTokens, int sinks = 0,
        int granuleBytes = DefaultGranuleBytes)
    {
        ArgumentNullException.ThrowIfNull(sharing);
        Positive(kvHeads, nameof(kvHeads));
        Positive(headDim, nameof(headDim));
        Positive(granuleBytes, nameof(granuleBytes));
        if (pageTokens <= 0 || (pageTokens & (pageTokens - 1)) != 0)
        {
            throw new InvalidRequestException($"A page holds {pageTokens} tokens; it must be a power of two, such as 16, 32 or 64.");
        }
        if (sinks < 0)
        {
            throw new InvalidRequestException($"{sinks} sink tokens were asked for; 0 or more are possible.");
        }
        if (type == DType.I32)
        {
            throw new InvalidRequestException("Keys and values cannot be kept as i32; use f32, f16 or bf16.");
        }
        Sharing = sharing;
        KvHeads = kvHeads;
        HeadDim = headDim;
        Type = type;
        PageTokens = pageTokens;
        GranuleBytes = granuleBytes;
        Sinks = sinks;

        BytesPerTokenOfLayer = checked(2L * kvHeads * headDim * type.Bytes());
        classOfLayer = new int[sharing.Layers];
        offsetOfLayer = new long[sharing.Layers];
        Array.Fill(classOfLayer, -1);
        int[] windows = [.. sharing.Owners.Select(sharing.OwnerWindow).Distinct().Order()];
        classes = new KvClass[windows.Length];
        for (int c = 0; c < windows.Length; c++)
        {
            int[] owners = [.. sharing.Owners.Where(o => sharing.OwnerWindow(o) == windows[c])];
            for (int i = 0; i < owners.Length; i++)
            {
                classOfLayer[owners[i]] = c;
                offsetOfLayer[owners[i]] = checked(i * BytesPerTokenOfLayer * pageTokens);
            }
            long bytes = checked(owners.Length * BytesPerTokenOfLayer * pageTokens);
            classes[c] = new(windows[c], windows[c] > 0 ? sinks : 0, owners, checked((bytes + granuleBytes - 1) / granuleBytes * granuleBytes));
        }
    }

    public LayerSharing Sharing { get; }
    public int KvHeads { get; }
    public int HeadDim { get; }
    public DType Type { get; }

    /// <summary>Tokens per page, a power of two.</summary>
    public int PageTokens { get; }

    /// <summary>The first so many tokens of a window class stay.</summary>
    public int Sinks { get; }

    public int GranuleBytes { get; }

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
    public long LayerOffset(int owner)
    {
        Sharing.OwnerIndex(owner);
        return offsetOfLayer[owner];
    }

    /// <summary>Bytes of keys and values of one token in one owning layer.</summary>
    public long BytesPerTokenOfLayer { get; }

    /// <summary>Bytes of keys and values of one token in all owning layers, as long as no window has passed it.</summary>
    public long BytesPerToken => BytesPerTokenOfLayer * Sharing.Owners.Count;

    /// <summary>Bytes of one token in one layer: 0 if it owns nothing.</summary>
    public long BytesPerTokenOf(int layer) => Sharing.Owns(layer) ? BytesPerTokenOfLayer : 0;

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
