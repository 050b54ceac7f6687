// The families' verbs on the CPU: rows one after another, vectors within a row, products by the backend's own.
using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using KvCuda.Tensors;
using Tensor = KvCuda.Tensors.Tensor;

namespace KvCuda.Backends.Cpu;

/// <summary><see cref="IFamilyVerbs"/> over host memory. Sums of a row run in its order, in double.</summary>
internal sealed unsafe class CpuFamilyVerbs(Verbs verbs) : IFamilyVerbs
{
    public void EmbedOrFirst(in Tensor x, in Tensor table, in Tensor index)
    {
        Begin(index.Columns, x.Columns, x);
        ReadOnlySpan<int> ids = index.Span<int>();
        using Scratch memory = new(ids.Length);
        Span<int> known = new(memory.Address, ids.Length);
        for (int i = 0; i < ids.Length; i++)
        {
            known[i] = ids[i] < table.Rows ? ids[i] : 0;
        }
        verbs.Embed(x, table, new Tensor(index.Name, DType.I32, (nint)memory.Address, 1, ids.Length));
    }

    public void Scale(in Tensor x, float scale, float cap = 0)
    {
        Begin(x.Rows, x.Columns, x);
        for (int row = 0; row < x.Rows; row++)
        {
            Span<float> of = Row(x, row);
            if (cap <= 0)
            {
                TensorPrimitives.Multiply(of, scale, of);
                continue;
            }
            for (int i = 0; i < of.Length; i++)
            {
                of[i] = cap * MathF.Tanh(scale * of[i] / cap);
            }
        }
    }

    public void ScaleColumns(in Tensor x, in Tensor weight)
    {
        Begin(x.Rows, x.Columns, x);
        Expect.Shape(weight, 1, x.Columns);
        using Scratch memory = new(x.Columns);
        for (int i = 0; i < x.Columns; i++)
        {
            memory.Address[i] = Number(weight, i);
        }
        for (int row = 0; row < x.Rows; row++)
        {
            TensorPrimitives.Multiply(Row(x, row), memory.Span, Row(x, row));
        }
    }

    public void Add(in Tensor y, in Tensor x, float scale = 1)
    {
        Begin(y.Rows, y.Columns, y, x);
        for (int row = 0; row < y.Rows; row++)
        {
            Span<float> to = Row(y, row);
            if (scale == 1)
            {
                TensorPrimitives.Add(to, Row(x, row), to);
                continue;
            }
            ReadOnlySpan<float> from = Row(x, row);
            for (int i = 0; i < to.Length; i++)
            {
                to[i] += scale * from[i];
            }
        }
    }

    public void TakeColumns(in Tensor y, in Tensor x, int first)
    {
        Begin(y.Rows, y.Columns, y);
        Expect.Shape(x, y.Rows, x.Columns);
        for (int row = 0; row < y.Rows; row++)
        {
            Row(x, row).Slice(first, y.Columns).CopyTo(Row(y, row));
        }
    }

    public void CutGates(in Tensor g, float threshold)
    {
        Begin(g.Rows, g.Columns, g);
        for (int row = 0; row < g.Rows; row++)
        {
            Span<float> of = Row(g, row);
            double sum = 0, squares = 0;
            foreach (float number in of)
            {
                sum += number;
            }
            double mean = sum / of.Length;
            foreach (float number in of)
            {
                squares += (number - mean) * (number - mean);
            }
            float cut = (float)(mean + (Math.Sqrt(squares / of.Length) * threshold));
            for (int i = 0; i < of.Length; i++)
            {
                of[i] = MathF.Max(0, of[i] - cut);
            }
        }
    }

    public void MatchMagnitude(in Tensor y, in Tensor reference)
    {
        Begin(y.Rows, y.Columns, y, reference);
        for (int row = 0; row < y.Rows; row++)
        {
            double wanted = Math.Sqrt(MeanSquare(Row(reference, row)));
            float factor = (float)(wanted / Math.Sqrt(Math.Max(MeanSquare(Row(y, row)), 1e-5)));
            TensorPrimitives.Multiply(Row(y, row), factor, Row(y, row));
        }
    }

    public void PredictStreams(ReadOnlySpan<Tensor> predicted, ReadOnlySpan<Tensor> streams, in Tensor coefficients)
    {
        Begin(streams[0].Rows, streams[0].Columns, [.. predicted, .. streams]);
        Expect.Shape(coefficients, streams[0].Rows, streams.Length * streams.Length);
        for (int row = 0; row < coefficients.Rows; row++)
        {
            ReadOnlySpan<float> c = Row(coefficients, row);
            for (int i = 0; i < streams.Length; i++)
            {
                Span<float> p = Row(predicted[i], row);
                Row(streams[i], row).CopyTo(p);
                for (int j = 0; j < streams.Length; j++)
                {
                    AddTo(p, Row(streams[j], row), c[(i * streams.Length) + j]);
                }
            }
        }
    }

    public void CorrectStreams(ReadOnlySpan<Tensor> streams, ReadOnlySpan<Tensor> predicted, in Tensor computed,
        in Tensor coefficients, int active)
    {
        Begin(computed.Rows, computed.Columns, [computed, .. predicted, .. streams]);
        Expect.Shape(coefficients, computed.Rows, streams.Length);
        using Scratch memory = new(computed.Columns);
        for (int row = 0; row < computed.Rows; row++)
        {
            TensorPrimitives.Subtract(Row(computed, row), Row(predicted[active], row), memory.Span);
            for (int i = 0; i < streams.Length; i++)
            {
                Span<float> s = Row(streams[i], row);
                Row(predicted[i], row).CopyTo(s);
                AddTo(s, memory.Span, Row(coefficients, row)[i] + 1);
            }
        }
    }

    public void Route(in Tensor choices, in Tensor shares, in Tensor logits, in Tensor scale, bool renormalise)
    {
        Begin(logits.Rows, shares.Columns, shares);
        Expect.Shape(choices, shares.Rows, shares.Columns);
        for (int row = 0; row < logits.Rows; row++)
        {
            Span<float> all = Row(logits, row), chosen = Row(shares, row);
            Span<int> ids = choices.Slice(row, 1).Span<int>();
            float largest = TensorPrimitives.Max<float>(all), sum = 0, kept = 0;
            foreach (ref float logit in all)
            {
                logit = MathF.Exp(logit - largest);
                sum += logit;
            }
            for (int k = 0; k < ids.Length; k++)
            {
                int best = 0;
                for (int expert = 1; expert < all.Length; expert++)
                {
                    best = all[expert] > all[best] ? expert : best;
                }
                (ids[k], chosen[k]) = (best, all[best] / sum);
                kept += chosen[k];
                all[best] = -1;
            }
            for (int k = 0; k < ids.Length; k++)
            {
                chosen[k] = (renormalise ? chosen[k] / kept : chosen[k]) * (scale.IsNone ? 1 : Number(scale, ids[k]));
            }
        }
    }

    public void MixExperts(in Tensor y, in Tensor x, in Tensor choices, in Tensor shares, IReadOnlyList<ExpertWeights> experts,
        Activation activation)
    {
        Begin(x.Rows, x.Columns, y, x);
        Expect.Shape(choices, x.Rows, choices.Columns);
        Expect.Shape(shares, x.Rows, choices.Columns);
        int chosen = choices.Columns, dim = x.Columns, size = experts[0].Gate.Rows;
        ReadOnlySpan<int> ids = choices.Span<int>();
        using Scratch parts = new((long)x.Rows * chosen * dim);
        using Scratch input = new((long)x.Rows * dim), gated = new((long)x.Rows * size), up = new((long)x.Rows * size);
        using Scratch output = new((long)x.Rows * dim), places = new(x.Rows);
        for (int expert = 0; expert < experts.Count; expert++)
        {
            // A row chooses an expert at most once.
            Span<int> place = new(places.Address, x.Rows);
            int count = 0;
            for (int at = 0; at < ids.Length; at++)
            {
                if (ids[at] == expert)
                {
                    Row(x, at / chosen).CopyTo(new Span<float>(input.Address + ((long)count * dim), dim));
                    place[count++] = at;
                }
            }
            if (count == 0)
            {
                continue;
            }
            Tensor from = Of(input, count, dim), gate = Of(gated, count, size), result = Of(output, count, dim);
            verbs.MatMulGate(gate, Of(up, count, size), from, experts[expert].Gate, experts[expert].Up, default, default, activation);
            verbs.MatMul(result, gate, experts[expert].Down);
            for (int i = 0; i < count; i++)
            {
                Row(result, i).CopyTo(new Span<float>(parts.Address + ((long)place[i] * dim), dim));
            }
        }
        for (int row = 0; row < x.Rows; row++)
        {
            Span<float> sum = Row(y, row);
            sum.Clear();
            for (int k = 0; k < chosen; k++)
            {
                AddTo(sum, new(parts.Address + (((long)row * chosen) + k) * dim, dim), Row(shares, row)[k]);
            }
        }
    }

    // Counts the verb and checks that all tensors are f32 of one shape.
    void Begin(int rows, int columns, in Tensor tensor, [CallerMemberName] string verb = "") => Begin(rows, columns, [tensor], verb);

    void Begin(int rows, int columns, in Tensor first, in Tensor second, [CallerMemberName] string verb = "") =>
        Begin(rows, columns, [first, second], verb);

    void Begin(int rows, int columns, ReadOnlySpan<Tensor> tensors, [CallerMemberName] string verb = "")
    {
        verbs.Counters.Count(verb);
        foreach (ref readonly Tensor tensor in tensors)
        {
            Expect.Shape(tensor, rows, columns, verb: verb);
            Expect.Type(tensor, DType.F32, verb: verb);
        }
    }

    static void AddTo(Span<float> sum, ReadOnlySpan<float> x, float factor)
    {
        for (int i = 0; i < sum.Length; i++)
        {
            sum[i] += factor * x[i];
        }
    }

    static double MeanSquare(ReadOnlySpan<float> numbers)
    {
        double sum = 0;
        foreach (float number in numbers)
        {
            sum += (double)number * number;
        }
        return sum / numbers.Length;
    }

    static Tensor Of(in Scratch memory, int rows, int columns) => new("scratch", DType.F32, (nint)memory.Address, rows, columns);

    static Span<float> Row(in Tensor tensor, int row) => new((float*)tensor.Address + ((long)row * tensor.Columns), tensor.Columns);

    static float Number(in Tensor tensor, int i) => tensor.Type switch
    {
        DType.F32 => tensor.Span<float>()[i],
        DType.F16 => (float)tensor.Span<Half>()[i],
        _ => BF16.ToSingle(tensor.Span<ushort>()[i]),
    };
}
