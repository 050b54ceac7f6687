namespace KvCuda.KvStore;

/// <summary>
/// The closed forms behind the names, as arrays of targets. Partitionings and target positions are those of Wu, Wang,
/// Tu (2024), "A Systematic Study of Cross-Layer KV Sharing", arXiv 2410.14442.
/// </summary>
static class LayerSharingMaps
{
    /// <summary>Where in its block the shared layer stands.</summary>
    public enum Position { Bottom, Quarter, Middle, ThreeQuarters, Top }

    /// <summary>kv(i) = i.</summary>
    public static int[] Standard(int layers) => [.. Enumerable.Range(0, layers)];

    /// <summary>The first l - 1 layers own their keys and values; all others share one layer.</summary>
    public static int[] Pizza(int layers, int owners, Position position) =>
        OneBlock(layers, owners - 1, layers - 1, position);

    /// <summary>
    /// The first ceil((l-1)/2) and the last floor((l-1)/2) layers own their keys and values; all others share one layer.
    /// </summary>
    public static int[] Sandwich(int layers, int owners, Position position) =>
        OneBlock(layers, owners / 2, layers - 1 - ((owners - 1) / 2), position);

    /// <summary>
    /// l consecutive groups, each with one shared layer. The study says nothing of L mod l != 0; here the first L mod l
    /// groups have one layer more.
    /// </summary>
    public static int[] Lasagna(int layers, int owners, Position position)
    {
        int[] targets = new int[layers];
        int first = 0;
        for (int g = 0; g < owners; g++)
        {
            int last = first + (layers / owners) + (g < layers % owners ? 1 : 0) - 1;
            Array.Fill(targets, At(first, last, position), first, last - first + 1);
            first = last + 1;
        }
        return targets;
    }

    /// <summary>
    /// Cross-Layer Attention (Brandon et al. 2024, arXiv 2405.12981): kv(i) = k floor(i / k). Where k divides L this is
    /// lasagna-bottom with L / k owners; elsewhere the last group is the short one.
    /// </summary>
    public static int[] Cla(int layers, int factor) => [.. Enumerable.Range(0, layers).Select(i => i - (i % factor))];

    /// <summary>
    /// YOCO (Sun et al. 2024, arXiv 2405.05254): the lower half reads itself (through a window), the upper half reads
    /// the keys and values of layer L / 2.
    /// </summary>
    public static int[] Yoco(int layers) => [.. Enumerable.Range(0, layers).Select(i => Math.Min(i, layers / 2))];

    /// <summary>
    /// MLKV (Zuhri et al. 2024, arXiv 2406.09297): owners are layer 0 and int((i+1) * (L / m)) for i = 0..m-2, computed
    /// in double as the authors do; a layer reads the nearest owner at or below it.
    /// </summary>
    public static int[] Mlkv(int layers, int owners)
    {
        var owning = new HashSet<int> { 0 };
        for (int i = 0; i <= owners - 2; i++)
        {
            owning.Add((int)((i + 1) * ((double)layers / owners)));
        }
        int[] targets = new int[layers];
        for (int i = 1; i < layers; i++)
        {
            targets[i] = owning.Contains(i) ? i : targets[i - 1];
        }
        return targets;
    }

    /// <summary>
    /// MixAttention (Rajput et al. 2024, arXiv 2409.15012): every sixth layer sees everything, and every second of those
    /// reads the one before it; the windowed runs between them share among neighbours. The published map has 22 layers; for
    /// other depths its pattern goes on: a windowed run of up to three layers shares one, a longer one is split in two.
    /// </summary>
    public static int[] MixAttention(int layers)
    {
        int[] targets = new int[layers];
        for (int full = 0; full < layers; full += 6)
        {
            targets[full] = full - (full % 12);
            int first = full + 1, end = Math.Min(full + 6, layers);
            int middle = end - first > 3 ? first + ((end - first) / 2) : end;
            Array.Fill(targets, first, Math.Min(first, layers), Math.Max(0, middle - first));
            Array.Fill(targets, middle, Math.Min(middle, layers), Math.Max(0, end - middle));
        }
        return targets;
    }

    /// <summary>Whether MixAttention gives the layer a window.</summary>
    public static bool MixAttentionIsWindowed(int layer) => layer % 6 != 0;

    /// <summary>
    /// Hugging Face's num_kv_shared_layers (Gemma 3n): each of the last n layers reads the last layer below them of its
    /// own kind (with or without a window). Null where there is none.
    /// </summary>
    public static int[]? SharedTail(int[] windows, int shared)
    {
        int first = windows.Length - shared;
        int[] targets = Standard(windows.Length);
        for (int i = first; i < windows.Length; i++)
        {
            bool windowed = windows[i] > 0;
            int target = first - 1;
            while (target >= 0 && windows[target] > 0 != windowed)
            {
                target--;
            }
            if (target < 0)
            {
                return null;
            }
            targets[i] = target;
        }
        return targets;
    }

    static int[] OneBlock(int layers, int first, int last, Position position)
    {
        int[] targets = Standard(layers);
        Array.Fill(targets, At(first, last, position), first, last - first + 1);
        return targets;
    }

    static int At(int first, int last, Position position) => position switch
    {
        Position.Bottom => first,
        Position.Quarter => ((3 * first) + last) / 4,
        Position.Middle => (first + last) / 2,
        Position.ThreeQuarters => (first + (3 * last)) / 4,
        _ => last,
    };
}
