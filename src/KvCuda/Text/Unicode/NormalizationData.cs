using System.Globalization;
using System.Text;

namespace KvCuda.Text.Unicode;

/// <summary>
/// Decompositions, compositions and combining classes (UAX #15), read from <c>normalization.txt</c> when first needed. .NET's
/// own normalisation does nothing in the invariant mode that servers without ICU run in.
/// </summary>
sealed class NormalizationData
{
    static readonly Lazy<NormalizationData> Lazy = new(() => new NormalizationData());

    readonly Dictionary<int, int[]> canonical = [];
    readonly Dictionary<int, int[]> compatible = [];
    readonly Dictionary<(int, int), int> compositions = [];
    readonly Dictionary<int, byte> classes = [];
    readonly HashSet<int> seconds = []; // characters that can be composed onto the one before
    readonly HashSet<int> stable = [];  // composed characters that decompose and compose to themselves

    public static NormalizationData Instance => Lazy.Value;

    NormalizationData()
    {
        using Stream stream = typeof(NormalizationData).Assembly.GetManifestResourceStream("normalization.txt")!;
        using var reader = new StreamReader(stream, Encoding.ASCII);
        var composed = new List<(int Character, int[] Parts)>();
        Span<Range> fields = stackalloc Range[24];
        while (reader.ReadLine() is { } line)
        {
            int count = line.AsSpan().Split(fields, ' ');
            if (line[0] == '#')
            {
                continue;
            }

            var numbers = new int[count - 1];
            for (int i = 0; i < numbers.Length; i++)
            {
                NumberStyles style = line[0] == 'c' && i == 2 ? NumberStyles.None : NumberStyles.AllowHexSpecifier;
                numbers[i] = int.Parse(line.AsSpan(fields[i + 1]), style, CultureInfo.InvariantCulture);
            }

            switch (line[0])
            {
                case 'c':
                    for (int c = numbers[0]; c <= numbers[1]; c++)
                    {
                        classes[c] = (byte)numbers[2];
                    }

                    break;
                case 'k':
                    compatible[numbers[0]] = numbers[1..];
                    break;
                default:
                    canonical[numbers[0]] = numbers[1..];
                    if (line[0] == 'd')
                    {
                        composed.Add((numbers[0], numbers[1..]));
                    }

                    break;
            }
        }

        // The first of a pair is itself composed of all parts but the last; so the short ones come first.
        foreach ((int character, int[] parts) in composed.OrderBy(c => c.Parts.Length))
        {
            int first = parts[0];
            foreach (int part in parts[1..^1])
            {
                first = compositions[(first, part)];
            }

            compositions[(first, parts[^1])] = character;
            seconds.Add(parts[^1]);
            stable.Add(character);
        }
    }

    /// <summary>The canonical combining class; 0 = a starter.</summary>
    public byte ClassOf(int character) => classes.GetValueOrDefault(character);

    public int[]? Decomposition(int character, bool compatibility) =>
        compatibility && compatible.TryGetValue(character, out int[]? parts) || canonical.TryGetValue(character, out parts)
            ? parts : null;

    public int? Composition(int first, int second) =>
        compositions.TryGetValue((first, second), out int composed) ? composed : null;

    /// <summary>
    /// Whether a character stays as it is and cuts the text: nothing before it changes because of it. (What follows it may
    /// still change it.)
    /// </summary>
    public bool IsInert(int character, bool compose, bool compatibility)
    {
        if (character < 0xA0)
        {
            return true;
        }

        if (classes.ContainsKey(character) || seconds.Contains(character)
            || (compatibility && compatible.ContainsKey(character))
            || character is (>= 0x1160 and <= 0x11FF))
        {
            return false;
        }

        if (!compose)
        {
            return !canonical.ContainsKey(character) && character is not (>= 0xAC00 and <= 0xD7A3);
        }

        return !canonical.TryGetValue(character, out int[]? parts)
            || (stable.Contains(character) && !seconds.Contains(parts[0]) && !classes.ContainsKey(parts[0]));
    }
}
