using System.Runtime.InteropServices;
using KvCuda.Backends;
using KvCuda.Backends.Cuda;
using KvCuda.Tensors;

namespace KvCuda.GpuBench;

/// <summary>One measured verb.</summary>
/// <param name="Verb">its name</param>
/// <param name="Shape">what it was called with</param>
/// <param name="Microseconds">median device time</param>
/// <param name="Bytes">bytes that must cross the memory bus at least once, or 0 where arithmetic is the bound</param>
/// <param name="Flops">multiplications plus additions, or 0 where memory is the bound</param>
internal sealed record VerbResult(string Verb, string Shape, double Microseconds, double Bytes, double Flops);

/// <summary>
/// The verbs at one model's sizes, cold: weights and pages are rotated through more copies than the L2 cache holds, as
/// they are when a whole model runs.
/// </summary>
internal sealed class VerbBench(CudaBackend backend, ModelShape shape, DType type, int pageTokens, bool small) : IDisposable
{
    readonly DeviceStopwatch stopwatch = new(backend.Stream);
    readonly List<nint> made = [];

    // Four times the largest L2 cache of today.
    long ColdBytes => small ? 1 << 16 : 256L << 20;

    public IEnumerable<VerbResult> Run()
    {
        int[] few = small ? [1, 2] : [1, 8, 32], many = small ? [40] : [512, 2048];
        foreach (int rows in few.Concat(many))
        {
            yield return MatMul("q", rows, shape.Dim, shape.Queries);
            yield return MatMul("down", rows, shape.Hidden, shape.Dim);
            yield return MatMulGate(rows);
            yield return RmsNorm(rows);
        }
        foreach (int rows in few)
        {
            yield return MatMul("head", rows, shape.Dim, shape.Vocabulary);
            yield return Sample(rows);
        }
        (int Sequences, int Context)[] decodes = small ? [(1, 40), (3, 33)] : [(1, 2048), (1, 32768), (8, 32768), (32, 2048), (128, 1024)];
        foreach ((int sequences, int context) in decodes)
        {
            yield return Attend(sequences, context, 1);
        }
        foreach (int prompt in small ? [24] : new[] { 2048, 8192 })
        {
            yield return Attend(1, prompt, prompt);
        }
    }

    public VerbResult MatMul(string name, int rows, int inputs, int outputs)
    {
        long bytes = (long)inputs * outputs * type.Bytes();
        Tensor[] weights = Copies(name, type, outputs, inputs);
        Tensor x = Random(DType.F32, rows, inputs), y = Make(DType.F32, rows, outputs);
        double time = stopwatch.MicrosecondsInGraph(call => backend.MatMul(y, x, weights[call % weights.Length]));
        return Done("MatMul", $"{name} ({rows}, {inputs}) x ({outputs}, {inputs})", time, bytes, rows, 2.0 * rows * inputs * outputs);
    }

    /// <summary>Microseconds of any product y = x · weightᵀ, weights cold.</summary>
    public double Product(int rows, int inputs, int outputs, Action<Tensor, Tensor, Tensor> launch)
    {
        Tensor[] weights = Copies("weights", type, outputs, inputs);
        Tensor x = Random(DType.F32, rows, inputs), y = Make(DType.F32, rows, outputs);
        double time = stopwatch.MicrosecondsInGraph(call => launch(y, x, weights[call % weights.Length]));
        Release();
        return time;
    }

    /// <summary>Microseconds of cuBLAS for the same product, activations in bf16.</summary>
    public double Cublas(Cublas cublas, int rows, int inputs, int outputs)
    {
        Tensor[] weights = Copies("weights", DType.BF16, outputs, inputs);
        Tensor x = Random(DType.BF16, rows, inputs), y = Make(DType.BF16, rows, outputs);
        double time = stopwatch.Microseconds(call => cublas.Multiply(y.Address, x.Address, weights[call % weights.Length].Address, rows, inputs, outputs));
        Release();
        return time;
    }

    VerbResult MatMulGate(int rows)
    {
        long bytes = 2L * shape.Dim * shape.Hidden * type.Bytes();
        Tensor[] gates = Copies("gate", type, shape.Hidden, shape.Dim), ups = Copies("up", type, shape.Hidden, shape.Dim);
        Tensor x = Random(DType.F32, rows, shape.Dim);
        Tensor g = Make(DType.F32, rows, shape.Hidden), up = Make(DType.F32, rows, shape.Hidden);
        IBackend verbs = backend;
        double time = stopwatch.MicrosecondsInGraph(
            call => verbs.MatMulGate(g, up, x, gates[call % gates.Length], ups[call % ups.Length], default, default,
                Activation.Silu));
        return Done("MatMulGate", $"({rows}, {shape.Dim}) x 2 ({shape.Hidden}, {shape.Dim})", time, bytes, rows,
            4.0 * rows * shape.Dim * shape.Hidden);
    }

    VerbResult RmsNorm(int rows)
    {
        Tensor x = Random(DType.F32, rows, shape.Dim), y = Make(DType.F32, rows, shape.Dim), weight = Random(type, 1, shape.Dim);
        double time = stopwatch.MicrosecondsInGraph(_ => backend.RmsNorm(y, x, weight, 1e-5f));
        return Done("RmsNorm", $"({rows}, {shape.Dim})", time, 8.0 * rows * shape.Dim, 1, 0);
    }

    VerbResult Sample(int rows)
    {
        Tensor logits = Random(DType.F32, rows, shape.Vocabulary), tokens = Make(DType.I32, 1, rows);
        Tensor parameters = Make(DType.I32, rows, SampleRow.Words), history = Make(DType.I32, 1, 1);
        double time = stopwatch.MicrosecondsInGraph(_ => backend.Sample(tokens, logits, parameters, history));
        return Done("Sample", $"({rows}, {shape.Vocabulary}) greedy", time, 4.0 * rows * shape.Vocabulary, 1, 0);
    }

    /// <summary>The last rows of each of some sequences attend to everything before them.</summary>
    public VerbResult Attend(int sequences, int context, int rowsPerSequence)
    {
        int keys = shape.Keys, queries = shape.Queries;
        int pages = (context + pageTokens - 1) / pageTokens, rows = sequences * rowsPerSequence;
        long pageBytes = 2L * keys * pageTokens * type.Bytes(), layerBytes = pageBytes * pages * sequences;
        int layers = (int)Math.Clamp(ColdBytes / layerBytes + 1, 1, 64);
        nint arena = backend.AllocateBytes("arena", layerBytes * layers);
        made.Add(arena);
        Tensor Part(long at, int bytes) => new("arena", DType.BF16, arena + (nint)at, 1, bytes / 2);
        RandomBytes.Fill(layerBytes * layers, RandomBytes.Of(DType.BF16, 1 << 16), part => backend.Write(Part(0, part.Length), part),
            (to, from, count) => backend.CopyBytes(arena + (nint)to, arena + (nint)from, count));
        Tensor[] tables = new Tensor[layers];
        for (int layer = 0; layer < layers; layer++)
        {
            // Pages of a sequence lie apart, as they do after a while of serving.
            int[] table = new int[sequences * pages];
            for (int i = 0; i < table.Length; i++)
            {
                int place = i % pages * sequences + i / pages + layer * table.Length;
                table[i] = checked((int)(place * pageBytes / KvPageShape.GranuleBytes));
            }
            tables[layer] = Ints(table, sequences, pages);
        }
        int[] sequenceOf = new int[rows], positions = new int[rows];
        for (int row = 0; row < rows; row++)
        {
            sequenceOf[row] = row / rowsPerSequence;
            positions[row] = context - rowsPerSequence + row % rowsPerSequence;
        }
        var batch = new BatchRows(Ints(new int[rows], 1, rows), Ints(positions, 1, rows), Ints(sequenceOf, 1, rows));
        Tensor q = Random(DType.F32, rows, queries), y = Make(DType.F32, rows, queries);
        var mask = new AttentionMask(1 / MathF.Sqrt(shape.HeadDim));
        double time = stopwatch.MicrosecondsInGraph(call => backend.Attend(y, q,
            new(arena, 0, new(pageTokens, shape.KvHeads, shape.HeadDim, 8 * type.Bytes()), type, tables[call % layers]), batch, mask));
        double seen = rowsPerSequence == 1 ? context : (context + 1) / 2.0;
        string what = rowsPerSequence == 1 ? $"decode, {sequences} x {context} tokens" : $"prompt of {context} tokens";
        return Done("Attend", what, time, (double)sequences * context * 2 * keys * type.Bytes(), rowsPerSequence,
            4.0 * rows * seen * queries);
    }

    // Few rows are bound by bytes, many by arithmetic.
    VerbResult Done(string verb, string what, double time, double bytes, int rows, double flops)
    {
        Release();
        return rows <= 64 ? new(verb, what, time, bytes, 0) : new(verb, what, time, 0, flops);
    }

    void Release()
    {
        made.ForEach(backend.Free);
        made.Clear();
    }

    Tensor[] Copies(string name, DType type, int rows, int columns)
    {
        int count = (int)Math.Clamp(ColdBytes / ((long)rows * columns * type.Bytes()) + 1, 1, 64);
        return [.. Enumerable.Range(0, count).Select(_ => Random(type, rows, columns))];
    }

    Tensor Make(DType type, int rows, int columns)
    {
        Tensor tensor = backend.Allocate("bench", type, rows, columns);
        made.Add(tensor.Address);
        return tensor;
    }

    Tensor Random(DType type, int rows, int columns)
    {
        Tensor tensor = Make(type, rows, columns);
        byte[] block = RandomBytes.Of(type, (int)Math.Min(tensor.Count, 1 << 16));
        RandomBytes.Fill(tensor.Bytes, block,
            part => backend.Write(new("bench", type, tensor.Address, 1, part.Length / type.Bytes()), part),
            (to, from, count) => backend.CopyBytes(tensor.Address + (nint)to, tensor.Address + (nint)from, count));
        return tensor;
    }

    Tensor Ints(int[] values, int rows, int columns)
    {
        Tensor tensor = Make(DType.I32, rows, columns);
        backend.Write(tensor, MemoryMarshal.AsBytes<int>(values));
        return tensor;
    }

    public void Dispose()
    {
        Release();
        stopwatch.Dispose();
    }
}
