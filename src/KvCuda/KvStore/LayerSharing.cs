using System.Text;

namespace KvCuda.KvStore;

/// <summary>
/// Which layer's keys and values each layer reads, and through which window: the cross-layer sharing map of a model.
/// Immutable. Layers count from 0.
///
/// A layer reads what its target computes; targets of targets are not followed (<c>0_3_5_3_2_5_6_4</c> is legal). A layer
/// owns keys and values if it is anybody's target. A layer whose target lies above it sees strictly earlier tokens only,
/// because the target has not run yet for the current one (Wu, Tu 2024, arXiv 2405.10637, §3.1). A window is a mask on
/// the reading side and counts the token itself.
/// </summary>
public sealed partial class LayerSharing : IEquatable<LayerSharing>
{
    readonly int[] targets;
    readonly int[] windows;
    readonly int[] ownerIndex;
    readonly int[] owners;
    readonly int[] ownerWindows;
    readonly int[][] readers;
    readonly LayerBlock[] blocks;
    readonly string? givenName;

    LayerSharing(int[] targets, int[] windows, bool forceStrictlyEarlier = false, string? name = null)
    {
        this.targets = targets;
        this.windows = windows;
        ForceStrictlyEarlier = forceStrictlyEarlier;
        givenName = name;

        owners = [.. targets.Distinct().Order()];
        ownerIndex = new int[targets.Length];
        Array.Fill(ownerIndex, -1);
        readers = new int[owners.Length][];
        ownerWindows = new int[owners.Length];
        for (int k = 0; k < owners.Length; k++)
        {
            int owner = owners[k];
            ownerIndex[owner] = k;
            readers[k] = [.. Enumerable.Range(0, targets.Length).Where(i => targets[i] == owner)];
            ownerWindows[k] = readers[k].Any(i => windows[i] == 0) ? 0 : readers[k].Max(i => windows[i]);
        }
        blocks = PlanIteration(targets);
    }

    /// <summary>Number of layers of the model.</summary>
    public int Layers => targets.Length;

    /// <summary>The layers that compute and store keys and values, ascending.</summary>
    public IReadOnlyList<int> Owners => owners;

    /// <summary>The highest owner: layers above it need to run only for rows whose logits are wanted.</summary>
    public int LastOwner => owners[^1];

    /// <summary>The layer whose keys and values <paramref name="layer"/> reads.</summary>
    public int Target(int layer) => targets[layer];

    /// <summary>Whether the layer computes and stores keys and values: whether it is anybody's target.</summary>
    public bool Owns(int layer) => ownerIndex[layer] >= 0;

    /// <summary>The layer's place in <see cref="Owners"/>.</summary>
    /// <exception cref="ArgumentException">The layer owns nothing.</exception>
    public int OwnerIndex(int layer) => ownerIndex[layer] >= 0
        ? ownerIndex[layer]
        : throw new ArgumentException($"Layer {layer} owns no keys and values; it reads those of layer {targets[layer]}.");

    /// <summary>Whether the layer's target lies above it.</summary>
    public bool LooksUpward(int layer) => targets[layer] > layer;

    /// <summary>Whether the layer must not see the current token: it looks upward, or every layer is made to.</summary>
    public bool StrictlyEarlier(int layer) => ForceStrictlyEarlier || targets[layer] > layer;

    /// <summary>Config <c>force_nodiag</c>: every layer sees strictly earlier tokens only.</summary>
    public bool ForceStrictlyEarlier { get; }

    /// <summary>Tokens the layer may see, its own included; 0: all.</summary>
    public int Window(int layer) => windows[layer];

    /// <summary>
    /// The tokens an owner must keep: the widest window among its readers, 0 (all) if any of them sees everything. The
    /// owner's own window counts only if it reads itself.
    /// </summary>
    /// <exception cref="ArgumentException">The layer owns nothing.</exception>
    public int OwnerWindow(int owner) => ownerWindows[OwnerIndex(owner)];

    /// <summary>The layers that read this owner, ascending.</summary>
    /// <exception cref="ArgumentException">The layer owns nothing.</exception>
    public IReadOnlyList<int> Readers(int owner) => readers[OwnerIndex(owner)];

    /// <summary>Whether any layer looks upward, so that a prompt needs iteration (or one token at a time).</summary>
    public bool IsCyclic => blocks.Length > 0;

    /// <summary>
    /// The runs of layers that a prompt must iterate, ascending and disjoint; all other layers run once. From the first
    /// layer that looks upward a block reaches to the highest target of its own members.
    /// </summary>
    public IReadOnlyList<LayerBlock> IteratedBlocks => blocks;

    /// <summary>Whether every layer reads its own keys and values.</summary>
    public bool IsStandard => owners.Length == targets.Length && owners.All(i => targets[i] == i);

    static LayerBlock[] PlanIteration(int[] targets)
    {
        var blocks = new List<LayerBlock>();
        for (int i = 0; i < targets.Length; i++)
        {
            if (targets[i] <= i)
            {
                continue;
            }
            int top = targets[i];
            for (int j = i; j <= top; j++)
            {
                top = Math.Max(top, targets[j]);
            }
            blocks.Add(new(i, top));
            i = top;
        }
        return [.. blocks];
    }

    /// <summary>The same map with every layer blind to the current token, or not.</summary>
    public LayerSharing WithStrictlyEarlier(bool force) => new(targets, windows, force, givenName);

    /// <summary>
    /// The map in its own notation, one entry per layer: <c>0s_1s_2s_3s_4_4_4_4</c>. <see cref="Parse"/> reads it back
    /// (given the same window).
    /// </summary>
    public override string ToString()
    {
        var text = new StringBuilder(targets.Length * 3);
        for (int i = 0; i < targets.Length; i++)
        {
            text.Append(i == 0 ? "" : "_").Append(targets[i]).Append(windows[i] > 0 ? "s" : "");
        }
        return text.ToString();
    }

    /// <summary>Same targets, windows and masks; the name it was asked by does not matter.</summary>
    public bool Equals(LayerSharing? other) => other is not null && ForceStrictlyEarlier == other.ForceStrictlyEarlier
        && targets.AsSpan().SequenceEqual(other.targets) && windows.AsSpan().SequenceEqual(other.windows);

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as LayerSharing);

    /// <inheritdoc/>
    public override int GetHashCode()
    {
        var hash = new HashCode();
        foreach (int target in targets)
        {
            hash.Add(target);
        }
        return hash.ToHashCode();
    }
}

/// <summary>A run of layers, both ends included.</summary>
/// <param name="First">the lowest layer</param>
/// <param name="Last">the highest layer</param>
public readonly record struct LayerBlock(int First, int Last)
{
    /// <summary>Number of layers.</summary>
    public int Count => Last - First + 1;
}
