using KvCuda.KvStore;
using KvCuda.Tensors;
using KvCuda.Weights;

namespace KvCuda.Cli;

/// <summary>The findings of `kvcuda inspect` as text.</summary>
internal static class InspectReport
{
    static readonly DType[] KvTypes = [DType.F32, DType.BF16];

    public static void Write(TextWriter output, ModelFindings found, bool listTensors)
    {
        output.WriteLine(found.Config is null ? found.Folder : $"{found.Folder}: {found.Config.Architecture}");
        output.WriteLine();
        if (found.Config is ModelConfig config)
        {
            Shape(output, config);
        }
        Files(output, found);
        InspectTokens.Write((name, value) => Line(output, name, value), found);
        if (found.Config is not null && found.Sharing is not null)
        {
            output.WriteLine();
            Sharing(output, found.Sharing, found.IsOverride);
            output.WriteLine();
            Memory(output, found.Config, found.Sharing);
        }
        if (listTensors && found.Files is not null)
        {
            output.WriteLine();
            Tensors(output, found.Files);
        }
        if (found.Refusal is not null)
        {
            output.WriteLine();
            Line(output, "refused", "this model cannot be run; the reason follows");
        }
    }

    static void Line(TextWriter output, string name, string value) => output.WriteLine($"  {name,-11} {value}");

    static void Shape(TextWriter output, ModelConfig config)
    {
        // Layers of one shape on one line.
        string name = "layers";
        foreach (var kind in config.LayerConfigs.Select((layer, i) => (Shape: layer with { Window = 0 }, Layer: i)).GroupBy(l => l.Shape))
        {
            LayerConfig shape = kind.Key;
            string heads = shape.Heads == shape.KvHeads ? $"{shape.Heads} heads" : $"{shape.Heads} heads on {shape.KvHeads} KV heads";
            Line(output, name, $"{kind.Count()} x (hidden {Figures.Whole(config.HiddenSize)}, {heads} of {shape.HeadDim}"
                + (shape.MlpSize > 0 ? $", MLP {Figures.Whole(shape.MlpSize)}" : "")
                + (shape.HasExperts ? $", {config.Experts!.Chosen} of {config.Experts.Count} experts of {config.Experts.Size}" : "")
                + ")" + (config.Ropes.Count == 0 || (shape.Rope == 0 && config.Ropes.Count == 1) ? ""
                    : shape.Rope < 0 ? ", no positions" : $", {config.Ropes[shape.Rope].Type} rope {shape.Rope}")
                + (shape.KeyIsValue ? ", keys are values" : "")
                + (kind.Count() < config.Layers ? ": " + Runs([.. kind.Select(l => l.Layer)]) : ""));
            name = "";
        }
        var details = new List<string>
        {
            config.Norm == NormKind.Rms ? "RMS norm" : "layer norm",
            (config.GatedMlp ? "gated " : "") + config.Activation switch
            {
                Activation.Silu => "SiLU",
                Activation.Relu => "ReLU",
                Activation.Gelu => "GELU",
                _ => "GELU (tanh)",
            },
        };
        if (config.HeadNorm != HeadNorm.None)
        {
            details.Add("norms on query and key heads");
        }
        if (config.AttentionScale == 1)
        {
            details.Add("unscaled attention");
        }
        string biases = string.Join(", ", new[]
        {
            config.QkvBias ? "Q K V" : null, config.OutputBias ? "attention output" : null, config.MlpBias ? "MLP" : null,
        }.Where(name => name is not null));
        if (biases.Length > 0)
        {
            details.Add($"biases in {biases}");
        }
        Line(output, "", string.Join(", ", details));
        Line(output, "positions", Figures.Whole(config.MaxPositions) + (config.Rope is not Rope rope
            ? ", learned"
            : ", rotary" + (rope.Type == "default" ? "" : $" ({rope.Type})")
                + (rope.RotatedDim < config.HeadDim ? $", {rope.RotatedDim} of {config.HeadDim} numbers of a head" : "")));
        Line(output, "vocabulary", Figures.Whole(config.Vocabulary) + (config.TiedHead ? ", head tied to the embedding" : ""));
    }

    static void Files(TextWriter output, ModelFindings found)
    {
        if (found.Files is SafetensorsModel files)
        {
            string types = string.Join(", ", files.Tensors.Values.GroupBy(tensor => tensor.Type.Name)
                .OrderByDescending(group => group.Sum(tensor => tensor.Bytes)).Select(group => group.Key));
            string parameters = found.Parameters > 0 ? $"{Figures.Count(found.Parameters)} parameters, " : "";
            Line(output, "weights", $"{parameters}{Figures.Bytes(files.Bytes)} in {files.Tensors.Count} tensors ({types}), "
                + (files.Files.Count == 1 ? "1 file" : $"{files.Files.Count} files"));
        }
        Line(output, "tokenizer", found.TokenizerFiles.Count == 0
            ? "no files: the model takes token ids only"
            : string.Join(", ", found.TokenizerFiles));
    }

    static void Sharing(TextWriter output, LayerSharing map, bool isOverride)
    {
        string[] others = [.. map.Names().Where(name => name != map.Name)];
        string name = map.Name is null ? map.ToString() : map.Name + (others.Length > 0 ? $" (= {string.Join(", ", others)})" : "");
        output.WriteLine($"Layer sharing: {name}" + (isOverride ? "   EXPERIMENTAL: not the map this model was trained with" : ""));
        output.WriteLine(map.IsStandard
            ? $"  Each of the {map.Layers} layers owns its keys and values."
            : $"  {map.Owners.Count} of {map.Layers} layers own keys and values.");
        if (map.ForceStrictlyEarlier)
        {
            output.WriteLine("  No layer sees the current token (force_nodiag).");
        }
        bool windows = Enumerable.Range(0, map.Layers).Any(layer => map.Window(layer) > 0);
        if (map.IsStandard && !windows)
        {
            return;
        }
        output.WriteLine();
        List<SharingPicture.Row> rows = SharingPicture.Draw(map);
        int drawing = Math.Max("map".Length, rows[0].Drawing.Length);
        int reads = Math.Max("keys, values".Length, rows.Max(row => row.Reads.Length));
        int sees = Math.Max("sees".Length, rows.Max(row => row.Sees.Length));
        output.WriteLine($"  layer  {"map".PadRight(drawing)}  {"keys, values".PadRight(reads)}  {"sees".PadRight(sees)}  prompt");
        foreach (SharingPicture.Row row in rows)
        {
            output.WriteLine($"  {row.Layer,5}  {row.Drawing.PadRight(drawing)}  {row.Reads.PadRight(reads)}  {row.Sees.PadRight(sees)}  {row.Pass}");
        }
        if (!map.IsStandard)
        {
            output.WriteLine();
            output.WriteLine("  ■ owns   ▼ reads from below   ▲ reads from above (strictly earlier tokens)");
        }
        if (map.IsCyclic)
        {
            int iterated = map.IteratedBlocks.Sum(block => block.Count);
            string blocks = string.Join(", ", map.IteratedBlocks.Select(block =>
                block.Count == 1 ? $"{block.First}" : $"{block.First} to {block.Last}"));
            output.WriteLine($"  A prompt iterates layers {blocks} ({iterated} of {map.Layers}) until their keys and values settle.");
        }
        else if (map.LastOwner < map.Layers - 1)
        {
            output.WriteLine($"  A prompt runs layers 0 to {map.LastOwner}; those above run for its last token only.");
        }
    }

    static void Memory(TextWriter output, ModelConfig config, LayerSharing map)
    {
        long Numbers(int layer) => 2L * config.LayerConfigs[layer].KvSize;
        long here = map.Owners.Sum(Numbers), standard = Enumerable.Range(0, map.Layers).Sum(Numbers);
        var each = map.Owners.GroupBy(Numbers).OrderBy(group => group.Key).ToArray();
        int[] fullOwners = [.. map.Owners.Where(owner => map.OwnerWindow(owner) == 0)];
        int[] windowOwners = [.. map.Owners.Where(owner => map.OwnerWindow(owner) > 0)];
        output.WriteLine($"KV bytes per token {"f32",14} {"bf16, f16",14}");
        Row("this map", here);
        if (map.Owners.Count < map.Layers)
        {
            Row("standard", standard);
        }
        foreach (IGrouping<long, int> owner in each)
        {
            Row(each.Length == 1 ? "each owner" : Runs([.. owner]), owner.Key);
        }
        if (map.Owners.Count < map.Layers)
        {
            output.WriteLine($"  {standard / (double)here:0.##} times less than the standard map.");
        }
        string owners = fullOwners.Length == map.Layers ? "" : $"  {Plural(fullOwners.Length)} all tokens: {Runs(fullOwners)}.";
        if (windowOwners.Length > 0)
        {
            if (fullOwners.Length > 0)
            {
                output.WriteLine(owners);
            }
            foreach (IGrouping<int, int> group in windowOwners.GroupBy(map.OwnerWindow))
            {
                int[] members = [.. group];
                output.WriteLine($"  {Plural(members.Length)} the last {Figures.Whole(group.Key)} tokens: {Runs(members)}.");
            }
        }
        else if (owners.Length > 0)
        {
            output.WriteLine(owners);
        }
        long positions = config.MaxPositions;
        long numbers = map.Owners.Sum(owner => Numbers(owner)
            * (map.OwnerWindow(owner) is > 0 and int window ? Math.Min(window, positions) : positions));
        output.WriteLine($"  A sequence of {Figures.Whole(positions)} tokens holds {Figures.Bytes(numbers * 4)} in f32, "
            + $"{Figures.Bytes(numbers * 2)} in bf16.");

        void Row(string name, long count) => output.WriteLine($"  {name,-16} "
            + string.Join(' ', KvTypes.Select(type => $"{Figures.Whole(count * type.Bytes()),14}")));

        static string Plural(int count) => count == 1 ? "1 owner keeps" : $"{count} owners keep";
    }

    /// <summary>0 to 4, 16, 17</summary>
    static string Runs(int[] layers)
    {
        var runs = new List<string>();
        for (int i = 0; i < layers.Length; i++)
        {
            int first = i;
            while (i + 1 < layers.Length && layers[i + 1] == layers[i] + 1)
            {
                i++;
            }
            runs.Add((i - first) switch
            {
                0 => $"{layers[i]}",
                1 => $"{layers[first]}, {layers[i]}",
                _ => $"{layers[first]} to {layers[i]}",
            });
        }
        return (layers.Length == 1 ? "layer " : "layers ") + string.Join(", ", runs);
    }

    static void Tensors(TextWriter output, SafetensorsModel files)
    {
        StoredTensor[] tensors = [.. files.Tensors.Values.OrderBy(tensor => tensor.Name, StringComparer.Ordinal)];
        int width = Math.Min(100, tensors.Select(tensor => tensor.Name.Length).DefaultIfEmpty(0).Max());
        foreach (StoredTensor tensor in tensors)
        {
            output.WriteLine($"  {SafetensorsHeader.Printable(tensor.Name).PadRight(width)}  {tensor.Type.Name,-4}  {tensor.Shape}");
        }
    }
}
