using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cpu;

/// <summary>
/// The verbs on the processor: SIMD kernels on a team of threads, weights used in place. Runs every verb at once, so
/// nothing is ever pending. All of it is in numerics class "consistent".
/// </summary>
internal sealed unsafe class CpuBackend : IBackend
{
    readonly ThreadTeam team;
    readonly InstructionSet set;
    readonly CpuKernels kernels;
    readonly Dictionary<nint, nint> allocations = []; // aligned address -> what was allocated

    /// <param name="threads">members of the team; 0 means one per core</param>
    /// <param name="instructions">which kernels; null: what <see cref="InstructionSets.Chosen"/> says</param>
    /// <exception cref="DeviceException">The environment asks for instructions that are not there.</exception>
    public CpuBackend(int threads = 0, InstructionSet? instructions = null)
    {
        set = instructions ?? InstructionSets.Chosen();
        kernels = CpuKernels.Of(set);
        team = ThreadTeam.Of(threads);
        Name = $"cpu ({set.Name()}, {team.Members} thread{(team.Members == 1 ? "" : "s")})";
    }

    public string Name { get; }

    public VerbCounters Counters { get; } = new();

    public bool TakesInt8Weights => true;

    // --- memory ---

    public MemoryInfo Memory => MemoryInfo.OfHost();

    public Tensor Allocate(string name, DType type, int rows, int columns) =>
        new(name, type, AllocateBytes(name, type.Bytes(rows, columns)), rows, columns);

    public nint AllocateBytes(string name, long bytes)
    {
        long alignment = bytes < HugePages.Worthwhile ? 128 : HugePages.Bytes;
        void* memory;
        try
        {
            // Zeroed by the system page by page when first touched: a large arena costs only what is used of it.
            memory = NativeMemory.AllocZeroed((nuint)Math.Max(bytes, 1) + (nuint)alignment);
        }
        catch (OutOfMemoryException exception)
        {
            throw new DeviceException($"{name}: {bytes:N0} bytes of memory were asked for and could not be had.", exception);
        }
        nint aligned = (nint)(((nint)memory + alignment - 1) & ~(alignment - 1));
        if (bytes >= HugePages.Worthwhile)
        {
            HugePages.Prefer(aligned, bytes);
        }
        allocations.Add(aligned, (nint)memory);
        return aligned;
    }

    public void Free(nint address)
    {
        if (allocations.Remove(address, out nint memory))
        {
            NativeMemory.Free((void*)memory);
        }
    }

    public void WarmUp(DType weights, DType kv) => Task.Run(() => CpuWarmUp.Run(set, weights, kv));

    public Tensor Load(in Tensor hostWeight) => hostWeight;

    public void Write(in Tensor destination, ReadOnlySpan<byte> source) => source.CopyTo(destination.Span<byte>());

    public void Read(Span<byte> destination, in Tensor source) => source.Span<byte>().CopyTo(destination);

    public void CopyBytes(nint destination, nint source, long bytes) =>
        Buffer.MemoryCopy((void*)source, (void*)destination, bytes, bytes);

    public void Synchronize() { }

    public void Dispose()
    {
        foreach (nint memory in allocations.Values)
        {
            NativeMemory.Free((void*)memory);
        }
        allocations.Clear();
    }

    // --- tokens to vectors ---

    public void Embed(in Tensor x, in Tensor table, in Tensor index)
    {
        Counters.Count(nameof(Embed));
        Expect.Shape(x, index.Columns, table.Columns);
        Rows(kernels.Rows.Embed, x, new() { Weight = Pointer(table), Type = table.Type, Index = Ints(index), Limit = table.Rows });
    }

    public void EmbedAdd(in Tensor x, in Tensor table, in Tensor index)
    {
        Counters.Count(nameof(EmbedAdd));
        Expect.Shape(x, index.Columns, table.Columns);
        Rows(kernels.Rows.EmbedAdd, x,
            new() { Weight = Pointer(table), Type = table.Type, Index = Ints(index), Limit = table.Rows });
    }

    public void Gather(in Tensor y, in Tensor x, in Tensor index)
    {
        Counters.Count(nameof(Gather));
        Expect.Shape(y, index.Columns, x.Columns);
        Rows(&RowKernels.Gather, y, new() { X = Floats(x), Index = Ints(index), Limit = x.Rows });
    }

    public void Scatter(in Tensor y, in Tensor x, in Tensor index)
    {
        Counters.Count(nameof(Scatter));
        Expect.Shape(x, index.Columns, y.Columns);
        RowKernels.Run(team, &RowKernels.Scatter, new()
        {
            Y = Floats(y), X = Floats(x), Index = Ints(index), Limit = y.Rows, Rows = x.Rows, Columns = x.Columns,
        });
    }

    // --- norms ---

    public void RmsNorm(in Tensor y, in Tensor x, in Tensor weight, float epsilon)
    {
        Counters.Count(nameof(RmsNorm));
        Expect.Shape(y, x.Rows, x.Columns);
        Expect.Shape(weight, 1, x.Columns);
        Rows(kernels.Rows.RmsNorm, y,
            new() { X = Floats(x), Weight = Pointer(weight), Type = weight.Type, Epsilon = epsilon });
    }

    public void LayerNorm(in Tensor y, in Tensor x, in Tensor weight, in Tensor bias, float epsilon)
    {
        Counters.Count(nameof(LayerNorm));
        Expect.Shape(y, x.Rows, x.Columns);
        Expect.Shape(weight, 1, x.Columns);
        Expect.Shape(bias, 1, x.Columns);
        Rows(kernels.Rows.LayerNorm, y, new()
        {
            X = Floats(x), Weight = Pointer(weight), Type = weight.Type, Bias = Pointer(bias), BiasType = bias.Type,
            Epsilon = epsilon,
        });
    }

    // --- products ---

    public void MatMul(in Tensor y, in Tensor x, in Tensor weight, in Tensor bias = default)
    {
        Counters.Count(nameof(MatMul));
        Product(y, x, weight, bias, accumulate: false);
    }

    public void MatMulAdd(in Tensor y, in Tensor x, in Tensor weight, in Tensor bias = default)
    {
        Counters.Count(nameof(MatMulAdd));
        Product(y, x, weight, bias, accumulate: true);
    }

    public void MatMulGate(in Tensor g, in Tensor up, in Tensor x, in Tensor gateWeight, in Tensor upWeight, in Tensor gateBias,
        in Tensor upBias, Activation activation)
    {
        Counters.Count(nameof(MatMulGate));
        ProductSet products = default;
        products.Add(Checked(g, x, gateWeight, gateBias));
        Add(ref products, up, x, upWeight, upBias, gateWeight.Type);
        kernels.MatMul(team, products, gateWeight.Type);
        Gate(g, g, up, activation);
    }

    public void MatMulQkv(in KvView kv, in Tensor q, in Tensor k, in Tensor v, in Tensor x, in QkvWeights weights, in Tensor cosSin,
        in BatchRows rows, in Tensor changed = default)
    {
        Counters.Count(nameof(MatMulQkv));
        DType type = q.IsNone ? weights.Key.Type : weights.Query.Type;
        ProductSet products = default;
        if (!q.IsNone)
        {
            Add(ref products, q, x, weights.Query, weights.QueryBias, type);
        }
        if (!k.IsNone)
        {
            Add(ref products, k, x, weights.Key, weights.KeyBias, type);
            Add(ref products, v, x, weights.Value, weights.ValueBias, type);
        }
        if (products.Count > 0)
        {
            kernels.MatMul(team, products, type);
        }
        if (!q.IsNone && !cosSin.IsNone)
        {
            Rotate(q, cosSin, kv.HeadDim);
        }
        if (!k.IsNone)
        {
            ((IBackend)this).RotateStoreKv(kv, default, k, v, cosSin, rows, changed);
        }
    }

    void Product(in Tensor y, in Tensor x, in Tensor weight, in Tensor bias, bool accumulate,
        [CallerMemberName] string verb = "") => kernels.MatMul(team, Checked(y, x, weight, bias, accumulate, verb), weight.Type);

    // One of several products with the same x; a matrix of another type is multiplied at once.
    void Add(ref ProductSet products, in Tensor y, in Tensor x, in Tensor weight, in Tensor bias, DType type, [CallerMemberName] string verb = "")
    {
        Product product = Checked(y, x, weight, bias, verb: verb);
        if (weight.Type == type)
        {
            products.Add(product);
        }
        else
        {
            kernels.MatMul(team, product, weight.Type);
        }
    }

    static Product Checked(in Tensor y, in Tensor x, in Tensor weight, in Tensor bias, bool accumulate = false, [CallerMemberName] string verb = "")
    {
        Expect.Shape(weight, y.Columns, x.Columns, verb: verb);
        Expect.Shape(y, x.Rows, weight.Rows, verb: verb);
        if (!bias.IsNone)
        {
            Expect.Shape(bias, 1, weight.Rows, verb: verb);
        }
        return new()
        {
            Y = Floats(y), X = Floats(x), Weight = Pointer(weight), Bias = Pointer(bias), BiasType = bias.Type,
            Rows = x.Rows, Inputs = x.Columns, Outputs = weight.Rows, Accumulate = accumulate,
        };
    }

    // --- element-wise ---

    public void Gate(in Tensor y, in Tensor gate, in Tensor up, Activation activation)
    {
        Counters.Count(nameof(Gate));
        Expect.Shape(gate, y.Rows, y.Columns);
        Expect.Shape(up, y.Rows, y.Columns);
        Rows(kernels.Rows.Gate, y, new() { X = Floats(gate), X2 = Floats(up), Activation = activation });
    }

    public void Activate(in Tensor x, Activation activation)
    {
        Counters.Count(nameof(Activate));
        Rows(kernels.Rows.Activate, x, new() { Activation = activation });
    }

    // --- positions and the key/value store ---

    public void RopeAngles(in Tensor cosSin, in Tensor positions, in Tensor inverseFrequency, float scale)
    {
        Counters.Count(nameof(RopeAngles));
        int pairs = inverseFrequency.Columns;
        Expect.Shape(cosSin, positions.Columns, 2 * pairs);
        RowKernels.Run(team, &RowKernels.Angles, new()
        {
            Y = Floats(cosSin), X = Floats(inverseFrequency), Index = Ints(positions), Rows = cosSin.Rows, Columns = 2 * pairs,
            Pairs = pairs, Epsilon = scale,
        });
    }

    public void Rotate(in Tensor x, in Tensor cosSin, int headDim)
    {
        Counters.Count(nameof(Rotate));
        Expect.Shape(cosSin, x.Rows, cosSin.Columns);
        RowKernels.Run(team, &RowKernels.Rotate, new()
        {
            Y = Floats(x), X = Floats(cosSin), Rows = x.Rows, Columns = x.Columns, HeadDim = headDim, Pairs = cosSin.Columns / 2,
        });
    }

    public void StoreKv(in KvView kv, in Tensor k, in Tensor v, in BatchRows rows, in Tensor changed = default)
    {
        Counters.Count(nameof(StoreKv));
        Expect.Shape(k, rows.Count, kv.KvHeads * kv.HeadDim);
        Expect.Shape(v, rows.Count, kv.KvHeads * kv.HeadDim);
        KvKernels.Arguments arguments = new()
        {
            Kv = new(kv), K = Floats(k), V = Floats(v), Positions = Ints(rows.Positions), Sequences = Ints(rows.Sequences),
            Changed = (int*)Pointer(changed), Rows = rows.Count,
        };
        delegate*<void*, int, int, void> share = kv.Type switch
        {
            DType.F32 => &KvKernels.Store<float, F32Element>,
            DType.BF16 => &KvKernels.Store<ushort, BF16Element>,
            _ => &KvKernels.Store<Half, F16Element>,
        };
        team.Run(share, &arguments, 2 * team.Members, alone: k.Count < RowKernels.WorthSharing);
    }

    public void ZeroKv(in KvView kv, in BatchRows rows)
    {
        Counters.Count(nameof(ZeroKv));
        KvKernels.Arguments arguments = new()
        {
            Kv = new(kv), Positions = Ints(rows.Positions), Sequences = Ints(rows.Sequences), Rows = rows.Count,
        };
        if (kv.Type == DType.F32)
        {
            KvKernels.Zero<float>(arguments);
        }
        else
        {
            KvKernels.Zero<ushort>(arguments);
        }
    }

    public void Attend(in Tensor y, in Tensor q, in KvView kv, in BatchRows rows, in AttentionMask mask,
        in Tensor sinkQuery = default)
    {
        Counters.Count(nameof(Attend));
        Expect.Shape(q, rows.Count, y.Columns);
        Expect.Streams(rows, q, sinkQuery);
        kernels.Attend(team, new()
        {
            Y = Floats(y), Q = Floats(q), Kv = new(kv), Mask = mask, Positions = Ints(rows.Positions),
            Sequences = Ints(rows.Sequences), Rows = rows.Count, Heads = q.Columns / kv.HeadDim,
            SinkQ = (float*)Pointer(sinkQuery), Spans = (int*)Pointer(rows.Streams.Spans),
        });
    }

    // --- the next token ---

    public void Sample(in Tensor tokens, in Tensor logits, in Tensor parameters, in Tensor history)
    {
        Counters.Count(nameof(Sample));
        Expect.Shape(tokens, 1, logits.Rows);
        Expect.Shape(parameters, logits.Rows, SampleRow.Words);
        ReadOnlySpan<SampleRow> rows = parameters.Span<SampleRow>();
        for (int row = 0; row < logits.Rows; row++)
        {
            ReadOnlySpan<int> seen = rows[row].HistoryCount == 0
                ? []
                : history.Span<int>().Slice(rows[row].HistoryStart, rows[row].HistoryCount);
            Ints(tokens)[row] = SampleKernel.Choose(logits.Slice(row, 1).Span<float>(), rows[row], seen);
        }
    }

    void Rows(delegate*<void*, int, int, void> body, in Tensor y, RowKernels.Arguments arguments)
    {
        arguments.Y = Floats(y);
        arguments.Rows = y.Rows;
        arguments.Columns = y.Columns;
        RowKernels.Run(team, body, arguments);
    }

    static void* Pointer(in Tensor tensor) => (void*)tensor.Address;

    static float* Floats(in Tensor tensor, [CallerArgumentExpression(nameof(tensor))] string operand = "",
        [CallerMemberName] string verb = "")
    {
        Expect.Type(tensor, DType.F32, operand, verb);
        return (float*)tensor.Address;
    }

    static int* Ints(in Tensor tensor, [CallerArgumentExpression(nameof(tensor))] string operand = "",
        [CallerMemberName] string verb = "")
    {
        Expect.Type(tensor, DType.I32, operand, verb);
        return (int*)tensor.Address;
    }
}
