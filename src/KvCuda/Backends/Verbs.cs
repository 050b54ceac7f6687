using System.Runtime.CompilerServices;
using KvCuda.Tensors;

namespace KvCuda.Backends;

/// <summary>
/// The front of every backend: counts each call, checks shapes and types in the caller's words, returns at once where there
/// are no rows, and hands the rest to a body. A backend writes the abstract bodies; it overrides a composition only where it
/// has something faster with the same result.
/// </summary>
internal abstract class Verbs : IVerbs
{
    /// <summary>Calls per verb.</summary>
    public VerbCounters Counters { get; protected init; } = new();

    /// <summary>Whether products take weights that lie so.</summary>
    public abstract bool Takes(WeightFormat format);

    // --- tokens to vectors ---

    public void Embed(in Tensor x, in Tensor table, in Tensor index)
    {
        Counters.Count(nameof(Embed));
        Expect.Shape(x, index.Columns, table.Columns);
        Expect.Type(x, DType.F32);
        Expect.Type(index, DType.I32);
        if (x.Rows > 0)
        {
            EmbedRows(x, table, index, add: false);
        }
    }

    public void EmbedAdd(in Tensor x, in Tensor table, in Tensor index)
    {
        Counters.Count(nameof(EmbedAdd));
        Expect.Shape(x, index.Columns, table.Columns);
        Expect.Type(x, DType.F32);
        Expect.Type(index, DType.I32);
        if (x.Rows > 0)
        {
            EmbedRows(x, table, index, add: true);
        }
    }

    public void Gather(in Tensor y, in Tensor x, in Tensor index)
    {
        Counters.Count(nameof(Gather));
        Expect.Shape(y, index.Columns, x.Columns);
        Expect.Type(y, DType.F32);
        Expect.Type(x, DType.F32);
        Expect.Type(index, DType.I32);
        if (y.Rows > 0)
        {
            GatherRows(y, x, index);
        }
    }

    public void Scatter(in Tensor y, in Tensor x, in Tensor index)
    {
        Counters.Count(nameof(Scatter));
        Expect.Shape(x, index.Columns, y.Columns);
        Expect.Type(y, DType.F32);
        Expect.Type(x, DType.F32);
        Expect.Type(index, DType.I32);
        if (x.Rows > 0)
        {
            ScatterRows(y, x, index);
        }
    }

    // --- norms ---

    public void RmsNorm(in Tensor y, in Tensor x, in Tensor weight, float epsilon)
    {
        Counters.Count(nameof(RmsNorm));
        Expect.Shape(y, x.Rows, x.Columns);
        Expect.Shape(weight, 1, x.Columns);
        Expect.Type(y, DType.F32);
        Expect.Type(x, DType.F32);
        if (x.Rows > 0)
        {
            RmsNormRows(y, x, weight, epsilon);
        }
    }

    public void LayerNorm(in Tensor y, in Tensor x, in Tensor weight, in Tensor bias, float epsilon)
    {
        Counters.Count(nameof(LayerNorm));
        Expect.Shape(y, x.Rows, x.Columns);
        Expect.Shape(weight, 1, x.Columns);
        Expect.Shape(bias, 1, x.Columns);
        Expect.Type(y, DType.F32);
        Expect.Type(x, DType.F32);
        if (x.Rows > 0)
        {
            LayerNormRows(y, x, weight, bias, epsilon);
        }
    }

    // --- products ---

    public void MatMul(in Tensor y, in Tensor x, in Tensor weight, in Tensor bias = default)
    {
        Counters.Count(nameof(MatMul));
        ExpectProduct(y, x, weight, bias);
        if (x.Rows > 0)
        {
            Multiply(y, x, weight, bias, add: false);
        }
    }

    public void MatMulAdd(in Tensor y, in Tensor x, in Tensor weight, in Tensor bias = default)
    {
        Counters.Count(nameof(MatMulAdd));
        ExpectProduct(y, x, weight, bias);
        if (x.Rows > 0)
        {
            Multiply(y, x, weight, bias, add: true);
        }
    }

    public void MatMulTogether(in Tensor x, ReadOnlySpan<Projection> projections)
    {
        Counters.Count(nameof(MatMulTogether));
        foreach (ref readonly Projection projection in projections)
        {
            if (!projection.Y.IsNone)
            {
                ExpectProduct(projection.Y, x, projection.Weight, projection.Bias);
            }
        }
        if (x.Rows > 0)
        {
            MultiplyTogether(x, projections);
        }
    }

    public void MatMulGate(in Tensor g, in Tensor up, in Tensor x, in Tensor gateWeight, in Tensor upWeight, in Tensor gateBias,
        in Tensor upBias, Activation activation)
    {
        Counters.Count(nameof(MatMulGate));
        ExpectProduct(g, x, gateWeight, gateBias);
        ExpectProduct(up, x, upWeight, upBias);
        Expect.Shape(up, g.Rows, g.Columns);
        if (x.Rows > 0)
        {
            MultiplyGate(g, up, x, gateWeight, upWeight, gateBias, upBias, activation);
        }
    }

    // --- element-wise ---

    public void Gate(in Tensor y, in Tensor gate, in Tensor up, Activation activation)
    {
        Counters.Count(nameof(Gate));
        Expect.Shape(gate, y.Rows, y.Columns);
        Expect.Shape(up, y.Rows, y.Columns);
        Expect.Type(y, DType.F32);
        Expect.Type(gate, DType.F32);
        Expect.Type(up, DType.F32);
        if (y.Rows > 0)
        {
            GateRows(y, gate, up, activation);
        }
    }

    public void Activate(in Tensor x, Activation activation)
    {
        Counters.Count(nameof(Activate));
        Expect.Type(x, DType.F32);
        if (x.Rows > 0)
        {
            ActivateRows(x, activation);
        }
    }

    // --- positions and the key/value store ---

    public void RopeAngles(in Tensor cosSin, in Tensor positions, in Tensor inverseFrequency, float scale)
    {
        Counters.Count(nameof(RopeAngles));
        Expect.Shape(cosSin, positions.Columns, 2 * inverseFrequency.Columns);
        Expect.Type(cosSin, DType.F32);
        Expect.Type(positions, DType.I32);
        Expect.Type(inverseFrequency, DType.F32);
        if (cosSin.Rows > 0)
        {
            Angles(cosSin, positions, inverseFrequency, scale);
        }
    }

    public void Rotate(in Tensor x, in Tensor cosSin, int headDim)
    {
        Counters.Count(nameof(Rotate));
        Expect.Shape(cosSin, x.Rows, cosSin.Columns);
        Expect.Type(x, DType.F32);
        Expect.Type(cosSin, DType.F32);
        if (x.Rows > 0)
        {
            RotateRows(x, cosSin, headDim);
        }
    }

    public void StoreKv(in KvView kv, in Tensor k, in Tensor v, in BatchRows rows, in Tensor changed = default)
    {
        Counters.Count(nameof(StoreKv));
        ExpectKv(kv, default, k, v, rows);
        if (rows.Count > 0)
        {
            Store(kv, k, v, rows, changed);
        }
    }

    public void RotateStoreKv(in KvView kv, in Tensor q, in Tensor k, in Tensor v, in Tensor cosSin, in BatchRows rows,
        in Tensor changed = default)
    {
        Counters.Count(nameof(RotateStoreKv));
        ExpectKv(kv, q, k, v, rows);
        if (rows.Count > 0)
        {
            RotateStore(kv, q, k, v, cosSin, rows, changed);
        }
    }

    public void MatMulQkv(in KvView kv, in Tensor q, in Tensor k, in Tensor v, in Tensor x, in QkvWeights weights,
        in Tensor cosSin, in BatchRows rows, in Tensor changed = default)
    {
        Counters.Count(nameof(MatMulQkv));
        if (!q.IsNone)
        {
            ExpectProduct(q, x, weights.Query, weights.QueryBias);
        }
        if (!k.IsNone)
        {
            ExpectProduct(k, x, weights.Key, weights.KeyBias);
            ExpectProduct(v, x, weights.Value, weights.ValueBias);
            ExpectKv(kv, q, k, v, rows);
        }
        if (x.Rows > 0)
        {
            MultiplyQkv(kv, q, k, v, x, weights, cosSin, rows, changed);
        }
    }

    public void ZeroKv(in KvView kv, in BatchRows rows)
    {
        Counters.Count(nameof(ZeroKv));
        if (rows.Count > 0)
        {
            Zero(kv, rows);
        }
    }

    public void Attend(in Tensor y, in Tensor q, in KvView kv, in BatchRows rows, in AttentionMask mask,
        in Tensor sinkQuery = default)
    {
        Counters.Count(nameof(Attend));
        Expect.Shape(q, rows.Count, y.Columns);
        Expect.Shape(y, rows.Count, y.Columns);
        Expect.Type(q, DType.F32);
        Expect.Type(y, DType.F32);
        Expect.Streams(rows, q, sinkQuery);
        if (rows.Count > 0)
        {
            AttendRows(y, q, kv, rows, mask, sinkQuery);
        }
    }

    // --- the next token ---

    public void Sample(in Tensor tokens, in Tensor logits, in Tensor parameters, in Tensor history)
    {
        Counters.Count(nameof(Sample));
        Expect.Shape(tokens, 1, logits.Rows);
        Expect.Shape(parameters, logits.Rows, SampleRow.Words);
        Expect.Type(tokens, DType.I32);
        Expect.Type(logits, DType.F32);
        Expect.Type(parameters, DType.I32);
        if (logits.Rows > 0)
        {
            SampleRows(tokens, logits, parameters, history);
        }
    }

    // Shapes and types fit, and this backend multiplies with weights that lie so.
    void ExpectProduct(in Tensor y, in Tensor x, in Tensor weight, in Tensor bias, [CallerMemberName] string verb = "")
    {
        Expect.Product(y, x, weight, bias, verb);
        if (!Takes(weight.Format))
        {
            throw new ArgumentException($"{verb}: {weight} is {weight.Format.Name}, which this backend does not multiply with.");
        }
    }

    static void ExpectKv(in KvView kv, in Tensor q, in Tensor k, in Tensor v, in BatchRows rows,
        [CallerMemberName] string verb = "")
    {
        Expect.Shape(k, rows.Count, kv.KvHeads * kv.HeadDim, verb: verb);
        Expect.Shape(v, rows.Count, kv.KvHeads * kv.HeadDim, verb: verb);
        Expect.Type(k, DType.F32, verb: verb);
        Expect.Type(v, DType.F32, verb: verb);
        Expect.Type(rows.Positions, DType.I32, verb: verb);
        Expect.Type(rows.Sequences, DType.I32, verb: verb);
        if (!q.IsNone)
        {
            Expect.Shape(q, rows.Count, q.Columns, verb: verb);
            Expect.Type(q, DType.F32, verb: verb);
        }
    }

    // --- bodies: at least one row, everything checked ---

    protected abstract void EmbedRows(in Tensor x, in Tensor table, in Tensor index, bool add);

    protected abstract void GatherRows(in Tensor y, in Tensor x, in Tensor index);

    protected abstract void ScatterRows(in Tensor y, in Tensor x, in Tensor index);

    protected abstract void RmsNormRows(in Tensor y, in Tensor x, in Tensor weight, float epsilon);

    protected abstract void LayerNormRows(in Tensor y, in Tensor x, in Tensor weight, in Tensor bias, float epsilon);

    protected abstract void Multiply(in Tensor y, in Tensor x, in Tensor weight, in Tensor bias, bool add);

    protected virtual void MultiplyTogether(in Tensor x, ReadOnlySpan<Projection> projections) =>
        Composed.MatMulTogether(this, x, projections);

    protected virtual void MultiplyGate(in Tensor g, in Tensor up, in Tensor x, in Tensor gateWeight, in Tensor upWeight,
        in Tensor gateBias, in Tensor upBias, Activation activation) =>
        Composed.MatMulGate(this, g, up, x, gateWeight, upWeight, gateBias, upBias, activation);

    protected abstract void GateRows(in Tensor y, in Tensor gate, in Tensor up, Activation activation);

    protected abstract void ActivateRows(in Tensor x, Activation activation);

    protected abstract void Angles(in Tensor cosSin, in Tensor positions, in Tensor inverseFrequency, float scale);

    protected abstract void RotateRows(in Tensor x, in Tensor cosSin, int headDim);

    protected abstract void Store(in KvView kv, in Tensor k, in Tensor v, in BatchRows rows, in Tensor changed);

    protected virtual void RotateStore(in KvView kv, in Tensor q, in Tensor k, in Tensor v, in Tensor cosSin,
        in BatchRows rows, in Tensor changed) =>
        Composed.RotateStoreKv(this, kv, q, k, v, cosSin, rows, changed);

    protected virtual void MultiplyQkv(in KvView kv, in Tensor q, in Tensor k, in Tensor v, in Tensor x,
        in QkvWeights weights, in Tensor cosSin, in BatchRows rows, in Tensor changed) =>
        Composed.MatMulQkv(this, kv, q, k, v, x, weights, cosSin, rows, changed);

    protected abstract void Zero(in KvView kv, in BatchRows rows);

    protected abstract void AttendRows(in Tensor y, in Tensor q, in KvView kv, in BatchRows rows, in AttentionMask mask,
        in Tensor sinkQuery);

    protected abstract void SampleRows(in Tensor tokens, in Tensor logits, in Tensor parameters, in Tensor history);
}
