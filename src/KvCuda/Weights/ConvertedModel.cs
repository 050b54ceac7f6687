using System.Runtime.InteropServices;
using KvCuda.Tensors;

namespace KvCuda.Weights;

/// <summary>
/// A model under another sharing map: each owner's key and value weights become the mean of those of the layers that
/// will read it (Wu, Tu 2024 start their training from such a model); everything else stays as it is, in its type.
/// </summary>
static class ConvertedModel
{
    /// <summary>Writes model.safetensors into an existing folder.</summary>
    /// <param name="files">the source's tensors</param>
    /// <param name="folder">where to write</param>
    /// <param name="config">the source's configuration</param>
    /// <param name="sourceTarget">whose keys and values a layer read so far</param>
    /// <param name="ownsKv">whether a layer will compute keys and values</param>
    /// <param name="readers">the layers that will read an owner</param>
    public static void Write(SafetensorsModel files, string folder, ModelConfig config,
        Func<int, int> sourceTarget, Func<int, bool> ownsKv, Func<int, IReadOnlyList<int>> readers)
    {
        // Keys and values of the source, by the layer that computes them.
        var source = TensorList.Of(config, layer => true).ToDictionary(spec => (spec.Role, spec.Layer, spec.Index));
        var plan = new List<(TensorSpec Spec, Tensor[] Parts)>();
        foreach (TensorSpec spec in TensorList.Of(config, ownsKv))
        {
            int[] layers = spec.Role.IsKeyOrValue()
                ? [.. readers(spec.Layer).Select(sourceTarget)]
                : [spec.Layer];
            var views = layers.Distinct().ToDictionary(
                layer => layer, layer => ModelWeights.View(files, config, source[(spec.Role, layer, spec.Index)]));
            plan.Add((spec, [.. views.Count == 1 ? views.Values : layers.Select(layer => views[layer])]));
        }
        using var writer = new SafetensorsWriter(Path.Combine(folder, "model.safetensors"),
            plan.Select(item => (item.Spec.Name, item.Parts[0].Type, item.Spec.Shape)));
        Parallel.ForEach(plan, item => Write(writer, item.Spec, item.Parts));
        writer.Finish();
    }

    static void Write(SafetensorsWriter writer, in TensorSpec spec, Tensor[] parts)
    {
        DType type = parts[0].Type;
        int rowBytes = spec.Columns * type.Bytes();
        int step = Math.Max(1, (1 << 22) / rowBytes);
        byte[] mean = parts.Length == 1 ? [] : new byte[step * rowBytes];
        double[] sum = parts.Length == 1 ? [] : new double[step * spec.Columns];
        for (int row = 0; row < spec.Rows; row += step)
        {
            int rows = Math.Min(step, spec.Rows - row);
            ReadOnlySpan<byte> bytes;
            if (parts.Length == 1)
            {
                bytes = parts[0].Slice(row, rows).Span<byte>();
            }
            else
            {
                Span<double> total = sum.AsSpan(0, rows * spec.Columns);
                total.Clear();
                foreach (Tensor part in parts)
                {
                    AddTo(total, part.Slice(row, rows));
                }
                Span<byte> rounded = mean.AsSpan(0, rows * rowBytes);
                Round(rounded, type, total, parts.Length);
                bytes = rounded;
            }
            writer.Write(spec.Name, (long)row * rowBytes, bytes);
        }
    }

    static void AddTo(Span<double> total, in Tensor part)
    {
        switch (part.Type)
        {
            case DType.F32:
                Span<float> singles = part.Span<float>();
                for (int i = 0; i < total.Length; i++)
                {
                    total[i] += singles[i];
                }
                break;
            case DType.F16:
                Span<Half> halves = part.Span<Half>();
                for (int i = 0; i < total.Length; i++)
                {
                    total[i] += (double)halves[i];
                }
                break;
            default:
                Span<ushort> bits = part.Span<ushort>();
                for (int i = 0; i < total.Length; i++)
                {
                    total[i] += BF16.ToSingle(bits[i]);
                }
                break;
        }
    }

    static void Round(Span<byte> bytes, DType type, ReadOnlySpan<double> total, int count)
    {
        for (int i = 0; i < total.Length; i++)
        {
            float mean = (float)(total[i] / count);
            switch (type)
            {
                case DType.F32: MemoryMarshal.Cast<byte, float>(bytes)[i] = mean; break;
                case DType.F16: MemoryMarshal.Cast<byte, Half>(bytes)[i] = (Half)mean; break;
                default: MemoryMarshal.Cast<byte, ushort>(bytes)[i] = BF16.FromSingle(mean); break;
            }
        }
    }
}
