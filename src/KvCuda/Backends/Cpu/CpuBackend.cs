using System.Runtime.InteropServices;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cpu;

/// <summary>
/// The verbs on the processor: SIMD kernels on a team of threads, weights used in place. Runs every verb at once, so
/// nothing is ever pending. All of it is in numerics class "consistent".
/// </summary>
internal sealed unsafe class CpuBackend : Verbs, IBackend
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
        FamilyVerbs = new CpuFamilyVerbs(this);
        Name = $"cpu ({set.Name()}, {team.Members} thread{(team.Members == 1 ? "" : "s")})";
    }

    public string Name { get; }

    // All instruction sets but AMX have the same order of sums.
    public string Arithmetic => set == InstructionSet.Amx ? "cpu-amx" : "cpu";

    public int KernelRevision => Backends.KernelRevision.Cpu;

    public override bool Takes(WeightFormat format) => true;

    // Keys and values are in host memory anyway, verbs run at once, and kernels are compiled by .NET.
    public IHostTier? HostTier => null;

    public IRecorder? Recorder => null;

    public IFamilyVerbs? FamilyVerbs { get; }

    public IPlanningBackend? Planner(bool always) => null;

    // --- memory ---

    public MemoryInfo Memory => MemoryInfo.OfHost();

    public Tensor Allocate(string name, DType type, int rows, int columns) =>
        new(name, type, AllocateBytes(name, (long)rows * columns * type.Bytes()), rows, columns);

    public Tensor Allocate(string name, WeightFormat format, int rows, int columns) =>
        new(name, format, AllocateBytes(name, format.Bytes(rows, columns)), rows, columns);

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

    public void WarmUp(WeightFormat weights, DType kv) => Task.Run(() => CpuWarmUp.Run(set, weights, kv));

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

    // --- bodies of the verbs ---

    protected override void EmbedRows(in Tensor x, in Tensor table, in Tensor index, bool add) =>
        Rows(add ? kernels.Rows.EmbedAdd : kernels.Rows.Embed, x,
            new() { Weight = Pointer(table), Type = table.Type, Index = Ints(index), Limit = table.Rows });

    protected override void GatherRows(in Tensor y, in Tensor x, in Tensor index) =>
        Rows(&RowKernels.Gather, y, new() { X = Floats(x), Index = Ints(index), Limit = x.Rows });

    protected override void ScatterRows(in Tensor y, in Tensor x, in Tensor index) => RowKernels.Run(team, &RowKernels.Scatter, new()
    {
        Y = Floats(y), X = Floats(x), Index = Ints(index), Limit = y.Rows, Rows = x.Rows, Columns = x.Columns,
    });

    protected override void RmsNormRows(in Tensor y, in Tensor x, in Tensor weight, float epsilon) =>
        Rows(kernels.Rows.RmsNorm, y, new() { X = Floats(x), Weight = Pointer(weight), Type = weight.Type, Epsilon = epsilon });

    protected override void LayerNormRows(in Tensor y, in Tensor x, in Tensor weight, in Tensor bias, float epsilon) =>
        Rows(kernels.Rows.LayerNorm, y, new()
        {
            X = Floats(x), Weight = Pointer(weight), Type = weight.Type, Bias = Pointer(bias), BiasType = bias.Type,
            Epsilon = epsilon,
        });

    protected override void Multiply(in Tensor y, in Tensor x, in Tensor weight, in Tensor bias, bool add) =>
        kernels.MatMul(team, Product(y, x, weight, bias, add), weight.Format);

    // x is prepared once, and the team wakes once. A matrix of another format than the first is multiplied by itself.
    protected override void MultiplyTogether(in Tensor x, ReadOnlySpan<Projection> projections)
    {
        ProductSet products = default;
        WeightFormat format = WeightFormat.F32;
        foreach (ref readonly Projection projection in projections)
        {
            if (projection.Y.IsNone)
            {
                continue;
            }
            Product product = Product(projection.Y, x, projection.Weight, projection.Bias);
            format = products.Count == 0 ? projection.Weight.Format : format; // of a set that begins
            if (projection.Weight.Format == format)
            {
                if (products.Count == ProductSet.Most)
                {
                    kernels.MatMul(team, products, format);
                    products = default;
                }
                products.Add(product);
            }
            else
            {
                kernels.MatMul(team, product, projection.Weight.Format);
            }
        }
        if (products.Count > 0)
        {
            kernels.MatMul(team, products, format);
        }
    }

    static Product Product(in Tensor y, in Tensor x, in Tensor weight, in Tensor bias, bool add = false) => new()
    {
        Y = Floats(y), X = Floats(x), Weight = Pointer(weight), Bias = Pointer(bias), BiasType = bias.Type,
        Rows = x.Rows, Inputs = x.Columns, Outputs = weight.Rows, Accumulate = add,
    };

    protected override void GateRows(in Tensor y, in Tensor gate, in Tensor up, Activation activation) =>
        Rows(kernels.Rows.Gate, y, new() { X = Floats(gate), X2 = Floats(up), Activation = activation });

    protected override void ActivateRows(in Tensor x, Activation activation) =>
        Rows(kernels.Rows.Activate, x, new() { Activation = activation });

    protected override void Angles(in Tensor cosSin, in Tensor positions, in Tensor inverseFrequency, float scale) =>
        RowKernels.Run(team, &RowKernels.Angles, new()
        {
            Y = Floats(cosSin), X = Floats(inverseFrequency), Index = Ints(positions), Rows = cosSin.Rows,
            Columns = cosSin.Columns, Pairs = inverseFrequency.Columns, Epsilon = scale,
        });

    protected override void RotateRows(in Tensor x, in Tensor cosSin, int headDim) => RowKernels.Run(team, &RowKernels.Rotate, new()
    {
        Y = Floats(x), X = Floats(cosSin), Rows = x.Rows, Columns = x.Columns, HeadDim = headDim, Pairs = cosSin.Columns / 2,
    });

    protected override void Store(in KvView kv, in Tensor k, in Tensor v, in BatchRows rows, in Tensor changed)
    {
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

    protected override void Zero(in KvView kv, in BatchRows rows)
    {
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

    protected override void AttendRows(in Tensor y, in Tensor q, in KvView kv, in BatchRows rows, in AttentionMask mask,
        in Tensor sinkQuery) => kernels.Attend(team, new()
        {
            Y = Floats(y), Q = Floats(q), Kv = new(kv), Mask = mask, Positions = Ints(rows.Positions),
            Sequences = Ints(rows.Sequences), Rows = rows.Count, Heads = q.Columns / kv.HeadDim,
            SinkQ = (float*)Pointer(sinkQuery), Spans = (int*)Pointer(rows.Streams.Spans),
        });

    protected override void SampleRows(in Tensor tokens, in Tensor logits, in Tensor parameters, in Tensor history)
    {
        SampleKernel.Arguments arguments = new()
        {
            Tokens = Ints(tokens), Logits = Floats(logits), Rows = (SampleRow*)Pointer(parameters),
            History = (int*)Pointer(history), HistoryCount = history.IsNone ? 0 : history.Columns, Vocabulary = logits.Columns,
        };
        team.Run(&SampleKernel.Share, &arguments, logits.Rows, alone: logits.Count < RowKernels.WorthSharing);
    }

    void Rows(delegate*<void*, int, int, void> body, in Tensor y, RowKernels.Arguments arguments)
    {
        arguments.Y = Floats(y);
        arguments.Rows = y.Rows;
        arguments.Columns = y.Columns;
        RowKernels.Run(team, body, arguments);
    }

    static void* Pointer(in Tensor tensor) => (void*)tensor.Address;

    static float* Floats(in Tensor tensor) => (float*)tensor.Address;

    static int* Ints(in Tensor tensor) => (int*)tensor.Address;
}
