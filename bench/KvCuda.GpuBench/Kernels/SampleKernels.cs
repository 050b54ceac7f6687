using System.Runtime.InteropServices;
using KvCuda.Kernels.Sample;
using KvCuda.Tensors;

namespace KvCuda.GpuBench;

internal sealed partial class KernelBench
{
    IEnumerable<KernelResult> Sample()
    {
        yield return Argmax();
        yield return SampleRow(new() { RepetitionPenalty = 1, TopP = 1 }, "greedy");
        yield return SampleRow(new() { RepetitionPenalty = 1, TopP = 0.9f, TopK = 40, Temperature = 1 }, "top-k 40, top-p 0.9");
    }

    KernelResult Argmax()
    {
        var kernel = new Argmax(backend.Library);
        Tensor logits = Numbers(DType.F32, Few, vocabulary), tokens = Empty(DType.I32, 1, Few);
        return Measure("argmax", $"({Few}, {vocabulary})", 4.0 * Few * vocabulary, 0, _ => kernel.Launch(backend.Stream, tokens, logits));
    }

    KernelResult SampleRow(Tensors.SampleRow how, string name)
    {
        var kernel = new Kernels.Sample.SampleRow(backend.Library);
        Tensor logits = Numbers(DType.F32, Few, vocabulary), tokens = Empty(DType.I32, 1, Few), history = Ints(1, 1, _ => 0);
        Tensor parameters = Empty(DType.I32, Few, Tensors.SampleRow.Words);
        Tensors.SampleRow[] rows = new Tensors.SampleRow[Few];
        Array.Fill(rows, how);
        backend.Write(parameters, MemoryMarshal.AsBytes<Tensors.SampleRow>(rows));
        return Measure("sample_row", $"({Few}, {vocabulary}), {name}", 4.0 * Few * vocabulary, 0,
            _ => kernel.Launch(backend.Stream, tokens, logits, parameters, history));
    }
}
