using System.Runtime.InteropServices;
using KvCuda.Backends;
using KvCuda.Backends.Cpu;
using KvCuda.Kernels.Attention;
using KvCuda.Kernels.Kv;
using KvCuda.Tensors;
using KvCuda.Tests.Reference;

namespace KvCuda.Tests.Kernels.Attention;

public class AttentionTests
{
    static readonly AttentionMask[] masks =
    [
        new(0.25f), new(1, Window: 40), new(0.25f, StrictlyEarlier: true), new(0.25f, Window: 33),
        new(0.5f, Window: 1, StrictlyEarlier: true),
    ];

    // A ragged batch: a lone first token, page and chunk boundaries, a run of prompt rows, and padding.
    static readonly int[] lengths = [1, 130, 300];
    static readonly int[] positions = [0, 127, 128, 129, 0, 15, 16, 255, 256, 299, 0];
    static readonly int[] sequences = [0, 1, 1, 1, -1, 2, 2, 2, 2, 2, -1];

    // The same places, where the first sequence is ordinary, the second has 3 sinks and the third more than a chunk of them:
    // windows begin after the sinks' chunks.
    static readonly int[] slidingLengths = [130, 300, 500];
    static readonly int[] slidingPositions = [0, 129, 130, 200, 299, 0, 300, 301, 499, 0];
    static readonly int[] slidingSequences = [0, 0, 1, 1, 1, -1, 2, 2, 2, -1];
    static readonly (int Sinks, int Window)[] spans =
        [(0, 0), (0, 0), (3, 2), (3, 2), (3, 2), (0, 0), (130, 40), (130, 40), (130, 40), (0, 0)];

    // Full attention, upward, a window that stays, one cut to the stream's, one that masks nothing of the cache.
    static readonly AttentionMask[] slidingMasks =
    [
        new(0.25f), new(0.25f, StrictlyEarlier: true), new(0.25f, Window: 1), new(0.25f, Window: 4), new(1, Window: 60, StrictlyEarlier: true),
        new(0.25f, Window: 170),
    ];

    [Theory]
    [InlineData(DType.F32, 6, 2, 2, 16)]
    [InlineData(DType.F32, 64, 4, 2, 64)]
    [InlineData(DType.F16, 80, 4, 1, 16)]
    [InlineData(DType.BF16, 128, 8, 1, 16)]
    [InlineData(DType.BF16, 32, 3, 1, 128)]
    [InlineData(DType.F32, 256, 2, 1, 16)]
    public void Exact_attention_equals_its_formula_split_or_not(DType type, int headDim, int heads, int kvHeads, int pageTokens) =>
        Check(type, headDim, heads, kvHeads, pageTokens, exact: true);

    [Theory]
    [InlineData(DType.BF16, 16, 1, 1, 16)]
    [InlineData(DType.F16, 32, 4, 2, 64)]
    [InlineData(DType.BF16, 64, 8, 1, 16)]
    [InlineData(DType.F16, 80, 4, 1, 16)]
    [InlineData(DType.BF16, 128, 2, 1, 64)]
    [InlineData(DType.F16, 256, 2, 2, 16)]
    public void Attention_on_tensor_cores_equals_its_formula_with_q_rounded(DType type, int headDim, int heads, int kvHeads, int pageTokens) =>
        Check(type, headDim, heads, kvHeads, pageTokens, exact: false);

    static void Check(DType type, int headDim, int heads, int kvHeads, int pageTokens, bool exact)
    {
        using TestDevice device = TestDevice.Open();
        var random = new Random(headDim);
        var kv = new TestKv(random, lengths, kvHeads, headDim, type, pageTokens);
        kv.Fill();
        (KvView view, _) = kv.On(device);
        Matrix q = Matrix.Random(random, positions.Length, heads * headDim);
        Matrix seen = exact ? q : q.Rounded(type);
        Tensor deviceQ = device.Tensor(q);
        BatchRows rows = device.Rows(positions, sequences);
        Tolerance tolerance = exact ? Tolerance.Attention : Tolerance.AttentionOf(type);
        for (int m = 0; m < masks.Length; m++)
        {
            AttentionMask mask = masks[m];
            Matrix expected = Expected(kv, seen, mask, heads);
            float[][] found = exact ? Exact(device, deviceQ, view, rows, mask) : TensorCores(device, deviceQ, view, rows, mask);
            for (int way = 0; way < found.Length; way++)
            {
                tolerance.Check($"{Names(exact)[way]}, {mask}", found[way], expected);
                // Ways differ in blocks and tiles, never in bits.
                SameBits.Check<float>($"{Names(exact)[way]} beside {Names(exact)[0]}, {mask}", found[0], found[way], "y");
            }
        }
    }

    // What made the results of Exact and of TensorCores.
    static string[] Names(bool exact) => exact
        ? ["attend_exact", "attend_exact split and merge_splits"]
        : ["attend_decode_split and merge_splits", "attend_prefill of single rows", "attend_prefill"];

    [Theory]
    [InlineData(DType.F32, 6, 2, 2, 16)]
    [InlineData(DType.BF16, 80, 8, 1, 64)]
    [InlineData(DType.F32, 256, 2, 1, 128)]
    public void Exact_attention_of_rows_that_slide_equals_its_formula(DType type, int headDim, int heads, int kvHeads, int pageTokens) =>
        CheckSliding(type, headDim, heads, kvHeads, pageTokens, exact: true);

    [Theory]
    [InlineData(DType.BF16, 16, 1, 1, 16)]
    [InlineData(DType.F16, 64, 4, 2, 64)]
    [InlineData(DType.BF16, 128, 8, 1, 128)]
    [InlineData(DType.F16, 256, 2, 2, 16)]
    public void Attention_of_rows_that_slide_on_tensor_cores_equals_its_formula(DType type, int headDim, int heads, int kvHeads, int pageTokens) =>
        CheckSliding(type, headDim, heads, kvHeads, pageTokens, exact: false);

    // Ordinary rows beside rows that slide have the bits they have alone.
    static void CheckSliding(DType type, int headDim, int heads, int kvHeads, int pageTokens, bool exact)
    {
        using TestDevice device = TestDevice.Open();
        var random = new Random(headDim);
        var kv = new TestKv(random, slidingLengths, kvHeads, headDim, type, pageTokens);
        kv.Free(1, 3, 100);
        kv.Free(2, 130, 256);
        kv.Fill();
        (KvView view, _) = kv.On(device);
        Matrix q = Matrix.Random(random, spans.Length, heads * headDim), sinkQ = Matrix.Random(random, spans.Length, heads * headDim);
        Tensor deviceQ = device.Tensor(q), deviceSinkQ = device.Tensor(sinkQ);
        BatchRows plain = device.Rows(slidingPositions, slidingSequences);
        Tensor flat = device.Tensor([.. spans.SelectMany(s => new[] { s.Sinks, s.Window })]);
        BatchRows rows = plain with { Streams = new(plain.Positions, plain.Positions, flat.View(spans.Length, 2)) };
        (Matrix seen, Matrix seenBySinks) = exact ? (q, sinkQ) : (q.Rounded(type), sinkQ.Rounded(type));
        foreach (AttentionMask mask in slidingMasks)
        {
            Matrix expected = ExpectedSliding(kv, seen, seenBySinks, mask, heads);
            float[][] found = exact
                ? Exact(device, deviceQ, view, rows, mask, deviceSinkQ)
                : TensorCores(device, deviceQ, view, rows, mask, deviceSinkQ);
            float[] ordinary = exact
                ? Exact(device, deviceQ.Top(2), view, device.Rows(slidingPositions[..2], slidingSequences[..2]), mask)[0]
                : TensorCores(device, deviceQ.Top(2), view, device.Rows(slidingPositions[..2], slidingSequences[..2]), mask)[0];
            for (int way = 0; way < found.Length; way++)
            {
                (exact ? Tolerance.Attention : Tolerance.AttentionOf(type)).Check($"{Names(exact)[way]}: {mask}", found[way], expected);
                Assert.Equal(found[0], found[way]);
                Assert.Equal(ordinary, found[way][..ordinary.Length]);
            }
        }
    }

    static Matrix ExpectedSliding(TestKv kv, Matrix q, Matrix sinkQ, AttentionMask mask, int heads)
    {
        var y = new Matrix(q.Rows, q.Columns);
        for (int row = 0; row < q.Rows; row++)
        {
            for (int head = 0; head < heads && slidingSequences[row] >= 0; head++)
            {
                int sequence = slidingSequences[row], kvHead = head / (heads / kv.KvHeads), at = head * kv.HeadDim;
                AttentionReference.Attend(q.Row(row).Slice(at, kv.HeadDim), kv.Head(kv.Keys[sequence], kvHead),
                    kv.Head(kv.Values[sequence], kvHead), slidingPositions[row], mask, spans[row],
                    sinkQ.Row(row).Slice(at, kv.HeadDim)).CopyTo(y.Row(row)[at..]);
            }
        }
        return y;
    }

    [Theory]
    [InlineData(DType.F32, 6, 2, 2, 16)]
    [InlineData(DType.F16, 64, 4, 2, 64)]
    [InlineData(DType.BF16, 80, 8, 1, 128)]
    public void The_processors_attention_of_rows_that_slide_equals_its_formula(DType type, int headDim, int heads, int kvHeads, int pageTokens)
    {
        using var backend = new CpuBackend(threads: 2);
        var random = new Random(headDim);
        var kv = new TestKv(random, slidingLengths, kvHeads, headDim, type, pageTokens);
        kv.Free(1, 3, 100);
        kv.Free(2, 130, 256);
        kv.Fill();
        KvView view = kv.On(backend);
        Matrix q = Matrix.Random(random, spans.Length, heads * headDim), sinkQ = Matrix.Random(random, spans.Length, heads * headDim);
        Tensor y = backend.Allocate("y", DType.F32, q.Rows, q.Columns), places = Ints(slidingPositions);
        Tensor flat = Ints([.. spans.SelectMany(s => new[] { s.Sinks, s.Window })]);
        BatchRows plain = new(places, places, Ints(slidingSequences));
        BatchRows rows = plain with { Streams = new(places, places, flat.View(spans.Length, 2)) };
        float[] found = new float[y.Count], ordinary = new float[2 * y.Columns];
        foreach (AttentionMask mask in slidingMasks)
        {
            backend.Attend(y, Floats(q), view, rows, mask, Floats(sinkQ));
            backend.Read(MemoryMarshal.AsBytes(found.AsSpan()), y);
            Tolerance.Attention.Check($"{mask}", found, ExpectedSliding(kv, q, sinkQ, mask, heads));
            BatchRows two = new(places.Range(0, 2), places.Range(0, 2), plain.Sequences.Range(0, 2));
            backend.Attend(y.Top(2), Floats(q).Top(2), view, two, mask);
            backend.Read(MemoryMarshal.AsBytes(ordinary.AsSpan()), y.Top(2));
            Assert.Equal(ordinary, found[..ordinary.Length]);
        }
        Assert.Throws<ArgumentException>(() => backend.Attend(y, Floats(q), view, rows, masks[0]));

        Tensor Ints(int[] numbers)
        {
            Tensor tensor = backend.Allocate("ints", DType.I32, 1, numbers.Length);
            backend.Write(tensor, MemoryMarshal.AsBytes<int>(numbers));
            return tensor;
        }

        Tensor Floats(Matrix matrix)
        {
            Tensor tensor = backend.Allocate("floats", DType.F32, matrix.Rows, matrix.Columns);
            backend.Write(tensor, matrix.Bytes(DType.F32));
            return tensor;
        }
    }

    static float[][] Exact(TestDevice device, Tensor q, KvView view, BatchRows rows, AttentionMask mask, Tensor sinkQ = default)
    {
        var kernel = new AttendExact(device.Library);
        (Tensor y, Func<float[]> read) = device.Result(q.Rows, q.Columns);
        kernel.Launch(device.Stream, y, q, view, rows, mask, sinkQ);
        (Tensor z, Func<float[]> readSplit) = device.Result(q.Rows, q.Columns);
        Partials partials = Scratch(device, q, view);
        kernel.Launch(device.Stream, default, q, view, rows, mask, sinkQ, partials);
        new MergeSplits(device.Library).Launch(device.Stream, z, view.HeadDim, rows, mask, partials, base2: false);
        return [read(), readSplit()];
    }

    static float[][] TensorCores(TestDevice device, Tensor q, KvView view, BatchRows rows, AttentionMask mask, Tensor sinkQ = default)
    {
        (Tensor y, Func<float[]> read) = device.Result(q.Rows, q.Columns);
        Partials partials = Scratch(device, q, view);
        new AttendDecodeSplit(device.Library).Launch(device.Stream, q, view, rows, mask, sinkQ, partials);
        new MergeSplits(device.Library).Launch(device.Stream, y, view.HeadDim, rows, mask, partials, base2: true);
        (Tensor one, Func<float[]> readOne) = device.Result(q.Rows, q.Columns);
        (Tensor many, Func<float[]> readMany) = device.Result(q.Rows, q.Columns);
        var prefill = new AttendPrefill(device.Library);
        prefill.Launch(device.Stream, one, q, view, rows, mask, sinkQ, single: true);
        prefill.Launch(device.Stream, many, q, view, rows, mask, sinkQ, single: false);
        return [read(), readOne(), readMany()];
    }

    static Partials Scratch(TestDevice device, Tensor q, KvView view)
    {
        int heads = q.Columns / view.HeadDim, chunks = Partials.ChunksOf(view);
        // What an earlier call left: chunks that look as good as any, but are nobody's.
        float[] stale = new float[Partials.Bytes(q.Rows, heads, view.HeadDim, chunks) / sizeof(float)];
        Array.Fill(stale, 50);
        DeviceArray<float> scratch = device.Upload<float>(stale);
        return Partials.In(scratch.Address, q.Rows, heads, view.HeadDim, chunks);
    }

    static Matrix Expected(TestKv kv, Matrix q, AttentionMask mask, int heads)
    {
        var y = new Matrix(q.Rows, q.Columns);
        for (int row = 0; row < q.Rows; row++)
        {
            for (int head = 0; head < heads && sequences[row] >= 0; head++)
            {
                int kvHead = head / (heads / kv.KvHeads);
                AttentionReference.Attend(q.Row(row).Slice(head * kv.HeadDim, kv.HeadDim), kv.Head(kv.Keys[sequences[row]], kvHead),
                    kv.Head(kv.Values[sequences[row]], kvHead), positions[row], mask).CopyTo(y.Row(row)[(head * kv.HeadDim)..]);
            }
        }
        return y;
    }

    [Theory]
    [InlineData(DType.F32)]
    [InlineData(DType.BF16)]
    public void Freed_and_unwritten_pages_are_never_read(DType type)
    {
        using TestDevice device = TestDevice.Open();
        var random = new Random(4);
        // The row at position 200 sees [171, 200); everything else is freed or not yet written (NaN).
        var mask = new AttentionMask(0.2f, Window: 30, StrictlyEarlier: true);
        var kv = new TestKv(random, [260], 1, 16, type, 16, columns: 40);
        kv.Free(0, 0, 171);
        kv.Fill(200);
        (KvView view, _) = kv.On(device);
        Matrix q = Matrix.Random(random, 1, 32);
        BatchRows rows = device.Rows([200], [0]);
        float[][] found = type == DType.F32
            ? Exact(device, device.Tensor(q), view, rows, mask)
            : TensorCores(device, device.Tensor(q), view, rows, mask);
        var expected = new Matrix(1, 32);
        Matrix seen = type == DType.F32 ? q : q.Rounded(type);
        for (int head = 0; head < 2; head++)
        {
            AttentionReference.Attend(seen.Row(0).Slice(head * 16, 16), kv.Keys[0], kv.Values[0], 200, mask).CopyTo(expected.Row(0)[(head * 16)..]);
        }
        for (int way = 0; way < found.Length; way++)
        {
            Tolerance.AttentionOf(type).Check(Names(type == DType.F32)[way], found[way], expected);
        }
    }

    [Fact]
    public void A_rows_bits_do_not_depend_on_its_batch()
    {
        using TestDevice device = TestDevice.Open();
        var random = new Random(8);
        var kv = new TestKv(random, lengths, 2, 32, DType.BF16, 16);
        kv.Fill();
        (KvView view, _) = kv.On(device);
        Matrix q = Matrix.Random(random, positions.Length, 4 * 32);
        Tensor deviceQ = device.Tensor(q);
        float[] all = TensorCores(device, deviceQ, view, device.Rows(positions, sequences), masks[0])[2];
        for (int row = 1; row < positions.Length; row += 4)
        {
            float[][] alone = TensorCores(device, deviceQ.Slice(row, 1), view, device.Rows([positions[row]], [sequences[row]]), masks[0]);
            for (int way = 0; way < alone.Length; way++)
            {
                SameBits.Check<float>($"{Names(exact: false)[way]}, row {row} alone", all.AsSpan(row * 128, 128), alone[way], "y");
            }
        }
    }

    [Fact]
    public void Plans_say_which_kernels_and_why()
    {
        static AttentionPlan Plan(bool tensorCores = true, int rows = 1, int sequences = 1, int blocks = 4, int chunks = 16, long scratch = 1 << 20) =>
            AttentionPlan.Choose(tensorCores, rows, sequences, blocks, chunks, scratch, 132);
        Assert.Equal((AttentionPlan.Kind.Decode, true), (Plan().Kernel, Plan().Split));
        Assert.False(Plan(chunks: 1).Split);
        Assert.False(Plan(rows: 128, sequences: 128, blocks: 512).Split);
        Assert.False(Plan(scratch: 1L << 30).Split);
        Assert.Equal(AttentionPlan.Kind.Prefill, Plan(rows: 100, sequences: 4).Kernel);
        Assert.Equal((AttentionPlan.Kind.Exact, true), (Plan(tensorCores: false).Kernel, Plan(tensorCores: false).Split));
    }

    [Theory]
    [InlineData(32, 4, 16, 8)]
    [InlineData(32, 1, 16, 16)]
    [InlineData(12, 1, 8, 6)]
    [InlineData(7, 7, 16, 1)]
    public void A_block_takes_the_largest_part_of_a_group_that_fits(int heads, int kvHeads, int limit, int expected) =>
        Assert.Equal(expected, AttentionArgs.HeadsPerBlock(heads, kvHeads, limit));

    [Fact]
    public void Tensor_cores_take_16_bit_types_and_whole_tiles()
    {
        Assert.True(AttendPrefill.Takes(new KvShape(DType.BF16, 80, 16)));
        Assert.False(AttendPrefill.Takes(new KvShape(DType.BF16, 6, 16)));
        Assert.False(AttendPrefill.Takes(new KvShape(DType.F32, 64, 16)));
    }
}
