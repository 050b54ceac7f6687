using System.Globalization;
using static KvCuda.KvStore.LayerSharingMaps;

namespace KvCuda.KvStore;

public sealed partial class LayerSharing
{
    /// <summary>More layers than any model has; a limit for hostile input.</summary>
    const int MaxLayers = 4096;

    /// <summary>Every layer reads itself, through the windows its architecture gives it (none: everything).</summary>
    /// <param name="layers">number of layers</param>
    /// <param name="windows">per layer the tokens it may see, 0 = all; null: all layers see all</param>
    public static LayerSharing Standard(int layers, IReadOnlyList<int>? windows = null) =>
        new(LayerSharingMaps.Standard(layers), windows is null ? new int[layers] : [.. windows], name: "standard");

    /// <summary>
    /// Reads a map from its notation or its name.
    ///
    /// Notation: one target per layer, joined by '_', with the suffix 's' where the layer reads through the sliding
    /// window: <c>0s_1s_2s_3s_4_4_4_4</c>. It says everything: layers without 's' see all.
    ///
    /// Names: <c>standard</c>; <c>pizza-bottom:3</c> and the like (pizza, sandwich, lasagna; bottom, middle, top,
    /// middle-1/4, middle-3/4; the number of owners, half the layers (rounded up) if not given), with <c>,keep-first</c>
    /// layer 0 reads itself in addition; <c>cla:k</c>; <c>lckv:w</c> (sandwich-top with w + 1 owners);
    /// <c>mlkv:m</c>; <c>yoco:W</c> and <c>mixattention:W</c>, whose W is a window in tokens (the model's if not given).
    /// Names that say nothing of windows keep those of the architecture.
    /// </summary>
    /// <param name="text">notation or name</param>
    /// <param name="layers">number of layers of the model</param>
    /// <param name="window">the model's sliding window in tokens, for the suffix 's'; 0: it has none</param>
    /// <param name="architectureWindows">per layer the window its architecture has anyway; null: none</param>
    /// <exception cref="InvalidRequestException">The text is neither, or does not fit the number of layers.</exception>
    public static LayerSharing Parse(
        string text, int layers, int window = 0, IReadOnlyList<int>? architectureWindows = null)
    {
        ArgumentNullException.ThrowIfNull(text);
        if (layers is < 1 or > MaxLayers)
        {
            throw new InvalidRequestException($"A model of {layers} layers was asked for; 1 to {MaxLayers} are possible.");
        }
        text = text.Trim();
        return text.Length > 0 && char.IsAsciiDigit(text[0])
            ? ParseNotation(text, layers, window)
            : ParseName(text, layers, window, architectureWindows);
    }

    static LayerSharing ParseNotation(string text, int layers, int window)
    {
        int entries = 1 + text.Count(c => c == '_');
        if (entries != layers)
        {
            throw Refuse(text, $"it has {entries} entries, the model has {layers} layers");
        }
        int[] targets = new int[layers], windows = new int[layers];
        string[] parts = text.Split('_');
        for (int i = 0; i < layers; i++)
        {
            string entry = parts[i];
            bool windowed = entry.EndsWith('s');
            if (!TryNumber(windowed ? entry[..^1] : entry, out targets[i]))
            {
                throw Refuse(text, $"the entry of layer {i}, '{Shorten(entry)}', is not a layer with an optional suffix s; {SharingScheme.Forms}");
            }
            if (targets[i] >= layers)
            {
                throw Refuse(text, $"layer {i} reads layer {targets[i]}, but the last layer is {layers - 1}");
            }
            if (windowed && window <= 0)
            {
                throw Refuse(text, $"layer {i} asks for a sliding window, but the model states no window size");
            }
            windows[i] = windowed ? window : 0;
        }
        return new(targets, windows);
    }

    static LayerSharing ParseName(string text, int layers, int window, IReadOnlyList<int>? architectureWindows)
    {
        string[] options = text.Split(',');
        string[] words = options[0].Split(':');
        string name = words[0];
        if (words.Length > 2)
        {
            throw Refuse(text, $"it has more than one ':'; {SharingScheme.Forms}");
        }
        int? number = null;
        if (words.Length == 2)
        {
            number = TryNumber(words[1], out int value)
                ? value
                : throw Refuse(text, $"'{Shorten(words[1])}' is not a whole number; {SharingScheme.Forms}");
        }
        int[] windows = architectureWindows is null ? new int[layers] : [.. architectureWindows];
        if (windows.Length != layers)
        {
            throw new ArgumentException($"{windows.Length} windows for {layers} layers.");
        }

        SharingScheme scheme = SharingScheme.All.FirstOrDefault(s => s.Name == name)
            ?? throw Refuse(text, $"there is no map of this name; {SharingScheme.Forms}");
        switch (scheme.Number)
        {
            case SchemeNumber.None when number is not null:
                throw Refuse(text, $"{name} takes no number");
            case SchemeNumber.Window:
                number ??= window;
                if (number < 1)
                {
                    throw Refuse(text,
                        $"{name} needs a window in tokens, as in {name}:1024, because the model states none");
                }
                break;
            case SchemeNumber.Owners:
                number ??= (layers + 1) / 2;
                break;
        }
        if (scheme.Number is SchemeNumber.Required or SchemeNumber.Owners
            && !(number >= scheme.Least && number <= scheme.Most(layers)))
        {
            throw Refuse(text, $"{name} needs {scheme.NumberMeans}, from {scheme.Least} to {scheme.Most(layers)}");
        }
        int[] targets = scheme.Targets(layers, number ?? 0);
        if (scheme.Windowed is { } windowed)
        {
            windows = [.. Enumerable.Range(0, layers).Select(i => windowed(i, layers) ? number!.Value : 0)];
        }
        foreach (string option in options.Skip(1))
        {
            if (option != "keep-first" || !scheme.IsStudied)
            {
                throw Refuse(text, scheme.IsStudied
                    ? $"'{Shorten(option)}' is not an option; the only one is keep-first"
                    : $"{name} has no options; keep-first belongs to pizza, sandwich and lasagna");
            }
            targets[0] = 0;
        }
        string canonical = number is null ? name : $"{name}:{number}";
        return new(targets, windows, name: options.Length > 1 ? canonical + ",keep-first" : canonical);
    }

    /// <summary>
    /// The map a model's config describes. At most one of the three ways to share may be used.
    /// </summary>
    /// <param name="layers">num_hidden_layers</param>
    /// <param name="window">sliding_window, for the suffix 's'; 0: none</param>
    /// <param name="layerTypes">LCKV's <c>layer_types</c> as one string; null: the config has none</param>
    /// <param name="forceStrictlyEarlier">LCKV's <c>force_nodiag</c></param>
    /// <param name="claShareFactor">Hunyuan's <c>cla_share_factor</c> if its <c>use_cla</c> is true; else 1</param>
    /// <param name="sharedTailLayers">Gemma's <c>num_kv_shared_layers</c>; else 0</param>
    /// <param name="architectureWindows">per layer the window its architecture has anyway; null: none</param>
    /// <exception cref="ModelFormatException">The fields contradict each other or the number of layers.</exception>
    public static LayerSharing FromConfig(
        int layers, int window = 0, string? layerTypes = null, bool forceStrictlyEarlier = false,
        int claShareFactor = 1, int sharedTailLayers = 0, IReadOnlyList<int>? architectureWindows = null)
    {
        if ((layerTypes is null ? 0 : 1) + (claShareFactor > 1 ? 1 : 0) + (sharedTailLayers > 0 ? 1 : 0) > 1)
        {
            throw new ModelFormatException("config.json describes layer sharing in more than one way; "
                + "it may use only one of a layer_types string, use_cla and num_kv_shared_layers.");
        }
        try
        {
            LayerSharing sharing;
            if (layerTypes is not null)
            {
                sharing = Parse(layerTypes, layers, window, architectureWindows);
            }
            else if (claShareFactor > 1)
            {
                sharing = Parse($"cla:{claShareFactor}", layers, window, architectureWindows);
            }
            else if (sharedTailLayers > 0)
            {
                int[] windows = architectureWindows is null ? new int[layers] : [.. architectureWindows];
                int[]? targets = sharedTailLayers < layers ? SharedTail(windows, sharedTailLayers) : null;
                sharing = new(targets ?? throw new ModelFormatException(
                    $"config.json: num_kv_shared_layers is {sharedTailLayers} of {layers} layers, which leaves no layer "
                    + "below them of the same kind (with or without a sliding window) to read from."), windows);
            }
            else
            {
                sharing = Standard(layers, architectureWindows);
            }
            return forceStrictlyEarlier ? sharing.WithStrictlyEarlier(true) : sharing;
        }
        catch (InvalidRequestException error)
        {
            throw new ModelFormatException($"config.json: {error.Message}", error);
        }
    }

    static bool TryNumber(string text, out int value) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out value);

    static InvalidRequestException Refuse(string text, string reason) =>
        new($"The layer sharing '{Shorten(text)}' cannot be used: {reason}.");

    static string Shorten(string text) => text.Length <= 200 ? text : text[..200] + "...";
}
