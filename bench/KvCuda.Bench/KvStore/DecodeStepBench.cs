using BenchmarkDotNet.Attributes;
using KvCuda.KvStore;
using KvCuda.Tensors;
using Store = KvCuda.KvStore.KvStore;

namespace KvCuda.Bench.KvStore;

/// <summary>
/// What the store costs in one decode step: every sequence reserves one token, advances by it, and its page tables are
/// written where they changed. Meant to be microseconds for 256 sequences, and to allocate nothing.
/// A sequence that grew by 1024 tokens is rewound to nothing and grows 1000 tokens at once.
/// </summary>
[MemoryDiagnoser]
public class DecodeStepBench
{
    const int StartTokens = 1000, LastTokens = StartTokens + 1024;

    Store store = null!;
    KvSequence[] sequences = null!;
    long[] written = null!;
    int[][] rows = null!;
    readonly int[] prompt = new int[StartTokens + 64];
    int classes;

    /// <summary>Sequences of the batch.</summary>
    [Params(1, 256)]
    public int Sequences { get; set; }

    /// <summary>The sharing map of a 24-layer model.</summary>
    [Params("standard", "windows")]
    public string Map { get; set; } = "standard";

    [GlobalSetup]
    public void Setup()
    {
        string map = Map == "standard"
            ? "standard"
            : string.Join('_', Enumerable.Range(0, 24).Select(i => i % 4 == 3 ? $"{i}" : $"{i}s"));
        var layout = new KvLayout(LayerSharing.Parse(map, 24, 256), kvHeads: 2, headDim: 64, DType.BF16, pageTokens: 64);
        store = new Store(layout, 8L << 30);
        classes = layout.Classes.Count;
        written = new long[Sequences];
        rows = [.. Enumerable.Range(0, Sequences * classes).Select(_ => new int[LastTokens / 64 + 1])];
        sequences = new KvSequence[Sequences];
        for (int i = 0; i < Sequences; i++)
        {
            sequences[i] = store.Open();
            Restart(i);
        }
    }

    void Restart(int i)
    {
        store.Truncate(sequences[i], 0);
        int tokens = StartTokens + 37 * i % 64; // so that the sequences do not fill their pages in the same step
        if (!store.TryReserve(sequences[i], tokens))
        {
            throw new InvalidOperationException("The arena is too small for this bench.");
        }
        store.Advance(sequences[i], prompt.AsSpan(0, tokens));
        store.TakeCopies();
    }

    [Benchmark]
    public int Step()
    {
        ReadOnlySpan<int> token = [7];
        for (int i = 0; i < sequences.Length; i++)
        {
            KvSequence s = sequences[i];
            if (s.Length >= LastTokens)
            {
                Restart(i);
            }
            if (!store.TryReserve(s, 1))
            {
                return -1;
            }
            if (s.TableVersion != written[i])
            {
                for (int c = 0; c < classes; c++)
                {
                    s.WriteTable(c, rows[i * classes + c]);
                }
                written[i] = s.TableVersion;
            }
        }
        int copies = store.TakeCopies().Count;
        for (int i = 0; i < sequences.Length; i++)
        {
            store.Advance(sequences[i], token);
        }
        return copies;
    }
}
