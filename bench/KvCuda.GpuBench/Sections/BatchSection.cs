using KvCuda.Model;
using KvCuda.Tensors;

namespace KvCuda.GpuBench;

/// <summary>Several sequences at once: weights are read once for all, keys and values for each.</summary>
internal static class BatchSection
{
    const DType Type = DType.BF16;

    public static void Run(Bench bench)
    {
        ModelShape shape = bench.Tiny ? ModelShape.Tiny : ModelShape.Medium;
        int context = bench.Tiny ? 17 : 1024, steps = bench.Tiny ? 1 : 32;
        foreach (int sequences in bench.Tiny ? [2, 3] : new[] { 8, 32, 128 })
        {
            using LoadedModel model = bench.Models.Load(shape, sequences, context + (3 * steps) + 16);
            using var loop = new DecodeLoop(model, sequences, context);
            StepTimes times = loop.Measure(steps);
            double visible = context + 3 + (1.5 * steps);
            double bytes = (shape.Parameters() * Type.Bytes()) + (sequences * visible * shape.KvBytesRead(Type));
            double flops = sequences * ((2.0 * shape.Parameters()) + (4.0 * visible * shape.Layers * shape.Queries));
            double roofline = Roofline.Seconds(
                bytes, flops, bench.Ceilings.ReadBytesPerSecond, bench.Ceilings.CublasFlopsPerSecond);
            bench.Add(new($"decode/{shape.Name}/{sequences}", $"{shape.Name}, {sequences} sequences of {context} tokens", sequences * 1e6 / times.Wall, "tokens/s")
            {
                Microseconds = times.Wall, Bytes = bytes, Flops = flops,
                Share = roofline > 0 ? roofline * 1e6 / times.Wall : double.NaN, Of = "roofline", Target = Targets.Batch(sequences),
                Note = $"roofline {Markdown.Number(roofline * 1e6)} us; device {Markdown.Number(times.Device)} us, host {Markdown.Number(times.Host)} us of work",
            });
        }
    }
}
