using static KvCuda.KvStore.LayerSharingMaps;

namespace KvCuda.KvStore;

/// <summary>What the number behind a scheme's colon is.</summary>
enum SchemeNumber
{
    /// <summary>There is none.</summary>
    None,

    /// <summary>A number that the user must give, from <see cref="SharingScheme.Least"/> to <see cref="SharingScheme.Most"/>.</summary>
    Required,

    /// <summary>The number of owners; half the layers, rounded up, if the user gives none.</summary>
    Owners,

    /// <summary>A window in tokens; the model's own if the user gives none.</summary>
    Window,
}

/// <summary>
/// A sharing scheme that has a name: how the name is read, the map it stands for, and how a map is recognised as it. A new
/// scheme is one entry of <see cref="All"/>: parsing, error texts, <c>inspect</c> and the study read this table.
/// </summary>
/// <param name="Name">the word before the colon</param>
/// <param name="Targets">(layers, number) to one target per layer; a layer whose target is itself owns keys and values</param>
sealed record SharingScheme(string Name, Func<int, int, int[]> Targets)
{
    /// <summary>What the number is.</summary>
    public SchemeNumber Number { get; init; }

    /// <summary>The number's letter and meaning, for errors: "k, the layers per group".</summary>
    public string NumberMeans { get; init; } = "the number of owners";

    /// <summary>The smallest number.</summary>
    public int Least { get; init; } = 1;

    /// <summary>The largest number for so deep a model.</summary>
    public Func<int, int> Most { get; init; } = layers => layers;

    /// <summary>(layer, layers): whether the layer reads through the window; null: the architecture decides.</summary>
    public Func<int, int, bool>? Windowed { get; init; }

    /// <summary>(layers, owners): numbers worth trying when a map of that many owners is to be recognised.</summary>
    public Func<int, int, IEnumerable<int>> Candidates { get; init; } = (_, owners) => [owners];

    /// <summary>One of the study's, which take <c>,keep-first</c>.</summary>
    public bool IsStudied { get; init; }

    /// <summary>How it is written: "cla:k".</summary>
    public string Form => Number switch
    {
        SchemeNumber.None => Name,
        SchemeNumber.Window => Name + ":W",
        _ => $"{Name}:{NumberMeans[0]}",
    };

    static readonly (string Name, Position Position)[] Positions =
    [
        ("bottom", Position.Bottom), ("middle", Position.Middle), ("top", Position.Top),
        ("middle-1/4", Position.Quarter), ("middle-3/4", Position.ThreeQuarters),
    ];

    static readonly (string Name, Func<int, int, Position, int[]> Map)[] Partitionings =
        [("pizza", Pizza), ("sandwich", Sandwich), ("lasagna", Lasagna)];

    /// <summary>
    /// Every scheme, in the order in which a map's names are listed: standard, the study's (bottom before middle before top),
    /// then the systems' own.
    /// </summary>
    public static IReadOnlyList<SharingScheme> All { get; } =
    [
        new("standard", (layers, _) => Standard(layers)),
        .. from partitioning in Partitionings
           from place in Positions
           select new SharingScheme($"{partitioning.Name}-{place.Name}",
               (layers, owners) => partitioning.Map(layers, owners, place.Position))
           {
               Number = SchemeNumber.Owners, IsStudied = true,
           },
        new("cla", Cla)
        {
            Number = SchemeNumber.Required, NumberMeans = "k, the layers per group",
            Candidates = (layers, _) => Enumerable.Range(2, Math.Max(0, layers - 1)),
        },
        // LCKV's w warm-up layers, half of them below and half above the layers that share.
        new("lckv", (layers, warmUp) => Sandwich(layers, warmUp + 1, Position.Top))
        {
            Number = SchemeNumber.Required, NumberMeans = "w, the number of warm-up layers",
            Least = 0, Most = layers => layers - 1,
            Candidates = (_, owners) => [owners - 1],
        },
        new("mlkv", Mlkv) { Number = SchemeNumber.Required, NumberMeans = "m, the number of owners" },
        new("yoco", (layers, _) => Yoco(layers))
        {
            Number = SchemeNumber.Window, Windowed = (layer, layers) => layer < layers / 2,
        },
        new("mixattention", (layers, _) => MixAttention(layers))
        {
            Number = SchemeNumber.Window, Windowed = (layer, _) => MixAttentionIsWindowed(layer),
        },
    ];

    /// <summary>Every legal form in one sentence, for errors and help.</summary>
    public static string Forms { get; } =
        "legal are one target per layer as in 0_1_2_5_5_5_5_5 (suffix s: sliding window), "
        + $"{string.Join('|', Partitionings.Select(p => p.Name))}-{string.Join('|', Positions.Select(p => p.Name))}"
        + "[:owners][,keep-first], "
        + string.Join(", ", All.Where(scheme => !scheme.IsStudied).Select(scheme => scheme.Form));
}
