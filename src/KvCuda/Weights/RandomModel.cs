using System.Runtime.InteropServices;
using KvCuda.Tensors;

namespace KvCuda.Weights;

/// <summary>
/// A model of random weights, for benches and tests. Every number is a pure function of seed, tensor name and
/// index, so that a file is the same on every machine and with any number of threads.
///
/// Projections have the variance 1 / inputs, those that add to the residual stream 1 / (2 layers inputs), embeddings
/// 1 / hidden; norm weights are 1 and biases 0: activations keep their size through any depth.
/// </summary>
static class RandomModel
{
    const int ChunkElements = 1 << 20;

    /// <summary>Writes model.safetensors into an existing folder, in pieces: memory use does not grow with the model.</summary>
    public static void Write(
        string folder, ModelConfig config, Func<int, bool> ownsKv, DType type, ulong seed, CancellationToken cancel = default)
    {
        TensorSpec[] specs = [.. TensorList.Of(config, ownsKv)];
        using var writer = new SafetensorsWriter(
            Path.Combine(folder, "model.safetensors"), specs.Select(spec => (spec.Name, type, spec.Shape)));
        IEnumerable<(TensorSpec Spec, long Start)> chunks = specs.SelectMany(spec => Starts(spec).Select(start => (spec, start)));
        var options = new ParallelOptions { CancellationToken = cancel, MaxDegreeOfParallelism = Environment.ProcessorCount };
        Parallel.ForEach(chunks, options, () => new byte[ChunkElements * type.Bytes()], (chunk, _, buffer) =>
        {
            int count = (int)Math.Min(ChunkElements, chunk.Spec.Shape.Count - chunk.Start);
            Span<byte> bytes = buffer.AsSpan(0, count * type.Bytes());
            Fill(bytes, type, chunk.Spec, config.Layers, config.NormPlusOne, seed, chunk.Start);
            writer.Write(chunk.Spec.Name, chunk.Start * type.Bytes(), bytes);
            return buffer;
        }, _ => { });
        writer.Finish();
    }

    static IEnumerable<long> Starts(TensorSpec spec)
    {
        for (long start = 0; start < spec.Shape.Count; start += ChunkElements)
        {
            yield return start;
        }
    }

    static void Fill(Span<byte> bytes, DType type, in TensorSpec spec, int layers, bool plusOne, ulong seed, long start)
    {
        double variance = spec.Role switch
        {
            TensorRole.Output or TensorRole.Down => 1.0 / (2.0 * layers * spec.Columns),
            _ => 1.0 / spec.Columns,
        };
        if (spec.Role.IsNormWeight() || spec.Role.IsScale() || spec.Role.IsBias())
        {
            float value = spec.Role.IsBias() || (spec.Role.IsNormWeight() && plusOne) ? 0 : 1;
            switch (type)
            {
                case DType.F32: MemoryMarshal.Cast<byte, float>(bytes).Fill(value); break;
                case DType.F16: MemoryMarshal.Cast<byte, Half>(bytes).Fill((Half)value); break;
                default: MemoryMarshal.Cast<byte, ushort>(bytes).Fill(BF16.FromSingle(value)); break;
            }
            return;
        }

        // The sum of four 16-bit uniforms: bell-shaped, exact in f32, variance 4 (2^32 - 1) / 12.
        float scale = (float)Math.Sqrt(variance / (4 * 4294967295.0 / 12));
        ulong key = Mix(seed ^ Hash(spec.Name));
        switch (type)
        {
            case DType.F32:
                Span<float> singles = MemoryMarshal.Cast<byte, float>(bytes);
                for (int i = 0; i < singles.Length; i++)
                {
                    singles[i] = Bell(key, start + i) * scale;
                }
                break;
            case DType.F16:
                Span<Half> halves = MemoryMarshal.Cast<byte, Half>(bytes);
                for (int i = 0; i < halves.Length; i++)
                {
                    halves[i] = (Half)(Bell(key, start + i) * scale);
                }
                break;
            default:
                Span<ushort> bits = MemoryMarshal.Cast<byte, ushort>(bytes);
                for (int i = 0; i < bits.Length; i++)
                {
                    bits[i] = BF16.FromSingle(Bell(key, start + i) * scale);
                }
                break;
        }
    }

    static float Bell(ulong key, long index)
    {
        ulong random = Mix(key + ((ulong)index * 0x9E37_79B9_7F4A_7C15));
        uint sum = (uint)((random & 0xFFFF) + ((random >> 16) & 0xFFFF) + ((random >> 32) & 0xFFFF) + (random >> 48));
        return (int)sum - (2 * 65535);
    }

    /// <summary>SplitMix64's finaliser (Steele, Lea, Flood 2014).</summary>
    static ulong Mix(ulong x)
    {
        x = (x ^ (x >> 30)) * 0xBF58_476D_1CE4_E5B9;
        x = (x ^ (x >> 27)) * 0x94D0_49BB_1331_11EB;
        return x ^ (x >> 31);
    }

    /// <summary>FNV-1a of the name.</summary>
    static ulong Hash(string name)
    {
        ulong hash = 0xCBF2_9CE4_8422_2325;
        foreach (char c in name)
        {
            hash = (hash ^ c) * 0x100_0000_01B3;
        }
        return hash;
    }
}
