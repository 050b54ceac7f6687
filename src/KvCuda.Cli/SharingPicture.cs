using KvCuda.KvStore;

namespace KvCuda.Cli;

/// <summary>
/// A sharing map as a picture: the highest layer on top, one row per layer, one vertical rail per owner that others read.
/// ■ owns keys and values, ▲ reads from above, ▼ reads from below; a layer that owns some and reads others shows both.
/// </summary>
internal static class SharingPicture
{
    /// <summary>What a row of the picture says.</summary>
    /// <param name="Layer">the layer</param>
    /// <param name="Drawing">symbols and rails, all rows equally wide</param>
    /// <param name="Reads">in words</param>
    /// <param name="Sees">in words</param>
    /// <param name="Pass">in words: how often a prompt runs it</param>
    public readonly record struct Row(int Layer, string Drawing, string Reads, string Sees, string Pass);

    [Flags]
    enum Line
    {
        None = 0,
        Up = 1,
        Down = 2,
        Left = 4,
        Right = 8,
        Joint = 16,
    }

    /// <summary>The rows, highest layer first.</summary>
    public static List<Row> Draw(LayerSharing map)
    {
        (int[] laneOf, int lanes) = Lanes(map);
        var cells = new Line[map.Layers, lanes];
        foreach (int owner in map.Owners.Where(owner => laneOf[owner] >= 0))
        {
            int lane = laneOf[owner];
            (int low, int high) = Span(map, owner);
            for (int layer = low; layer <= high; layer++)
            {
                cells[layer, lane] |= (layer < high ? Line.Up : 0) | (layer > low ? Line.Down : 0);
            }
            foreach (int layer in map.Readers(owner).Append(owner))
            {
                cells[layer, lane] |= Line.Left | Line.Joint;
                for (int crossed = 0; crossed < lane; crossed++)
                {
                    cells[layer, crossed] |= Line.Left | Line.Right;
                }
            }
        }
        var rows = new List<Row>();
        for (int layer = map.Layers - 1; layer >= 0; layer--)
        {
            char[] drawing = new char[2 + (2 * lanes)];
            int target = map.Target(layer);
            drawing[0] = map.Owns(layer) ? '■' : target > layer ? '▲' : '▼';
            drawing[1] = !map.Owns(layer) || target == layer ? ' ' : target > layer ? '▲' : '▼';
            for (int lane = 0; lane < lanes; lane++)
            {
                bool linked = (cells[layer, lane] & Line.Left) != 0;
                if (lane == 0 && linked && drawing[1] == ' ')
                {
                    drawing[1] = '─';
                }
                drawing[2 + (2 * lane)] = linked ? '─' : ' ';
                drawing[3 + (2 * lane)] = Glyph(cells[layer, lane]);
            }
            rows.Add(new(layer, new(drawing), Reads(map, layer), Sees(map, layer), Pass(map, layer)));
        }
        return rows;
    }

    /// <summary>The rails side by side: the shortest nearest to the layers, none over another.</summary>
    static (int[] LaneOf, int Lanes) Lanes(LayerSharing map)
    {
        int[] laneOf = new int[map.Layers];
        Array.Fill(laneOf, -1);
        var taken = new List<List<(int Low, int High)>>();
        foreach (int owner in map.Owners.Where(owner => Span(map, owner) is var (low, high) && high > low)
            .OrderBy(owner => Span(map, owner) is var (low, high) ? high - low : 0))
        {
            (int low, int high) = Span(map, owner);
            int lane = taken.FindIndex(others => others.All(other => other.High < low || other.Low > high));
            if (lane < 0)
            {
                lane = taken.Count;
                taken.Add([]);
            }
            taken[lane].Add((low, high));
            laneOf[owner] = lane;
        }
        return (laneOf, taken.Count);
    }

    static (int Low, int High) Span(LayerSharing map, int owner) =>
        (Math.Min(owner, map.Readers(owner)[0]), Math.Max(owner, map.Readers(owner)[^1]));

    static char Glyph(Line line)
    {
        bool up = (line & Line.Up) != 0, down = (line & Line.Down) != 0, right = (line & Line.Right) != 0;
        return (line & Line.Joint) == 0
            ? (up || down, right) switch { (true, true) => '┼', (true, false) => '│', (false, true) => '─', _ => ' ' }
            : (up, down, right) switch
            {
                (true, true, false) => '┤',
                (true, false, false) => '┘',
                (false, true, false) => '┐',
                (true, true, true) => '╋',
                (true, false, true) => '┻',
                _ => '┳',
            };
    }

    static string Reads(LayerSharing map, int layer)
    {
        int target = map.Target(layer);
        return (map.Owns(layer), target == layer) switch
        {
            (true, true) => "owns",
            (true, false) => $"owns, reads {target}",
            _ => $"reads {target}",
        };
    }

    static string Sees(LayerSharing map, int layer)
    {
        string tokens = map.Window(layer) > 0 ? $"last {Figures.Whole(map.Window(layer))}" : "all";
        return map.StrictlyEarlier(layer) ? tokens + ", strictly earlier" : tokens;
    }

    static string Pass(LayerSharing map, int layer) =>
        map.IteratedBlocks.Any(block => layer >= block.First && layer <= block.Last)
            ? "iterated"
            : layer > map.LastOwner ? "last token only" : "once";
}
