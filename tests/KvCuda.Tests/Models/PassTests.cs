// One step of the model: which of its rows give logits, and which of its tokens stay.
using System.Runtime.InteropServices;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Tensors;
using KvCuda.Tests.Engine;

namespace KvCuda.Tests.Models;

public sealed class PassTests : IDisposable
{
    readonly MixRig rig = new();

    public void Dispose() => rig.Dispose();

    LoadedModel Load(string map) => LoadedModel.Load(rig.Folder, new()
    {
        Device = "cpu", Threads = 1, KvType = "bf16", Sharing = map, PageTokens = 16, MaxSequences = 3, MaxStepTokens = 24, MaxWanted = 24,
    });

    [Theory]
    [InlineData("standard")]
    [InlineData("0_1s_2s_3s")]
    [InlineData("0_0_2_2")]
    public void Several_wanted_rows_of_a_sequence_have_the_logits_of_one_token_at_a_time(string map)
    {
        using LoadedModel model = Load(map);
        int[] tokens = [.. Enumerable.Range(0, 21).Select(i => 3 + i * 7 % 30)];
        KvSequence slow = model.Store.Open(), fast = model.Store.Open();
        List<float[]> expected = [];
        foreach (int token in tokens)
        {
            model.Pass.Clear();
            Assert.Equal(0, model.Pass.TryAdd(slow, [token], wanted: 1));
            expected.Add(Row(model.Pass.Run(), 0));
            model.Pass.Accept(0);
        }

        model.Pass.Clear();
        Assert.Equal(0, model.Pass.TryAdd(slow, [5], wanted: 1)); // another sequence before it
        Assert.Equal(1, model.Pass.TryAdd(fast, tokens, wanted: 6));
        Tensor logits = model.Pass.Run();
        Assert.Equal(1, model.Pass.RowOf(1));
        for (int i = 0; i < 6; i++)
        {
            Assert.Equal(expected[15 + i], Row(logits, 1 + i));
        }

        float[] Row(in Tensor all, int row)
        {
            float[] numbers = new float[model.Config.Vocabulary];
            model.Backend.Read(MemoryMarshal.AsBytes(numbers.AsSpan()), all.Slice(row, 1));
            return numbers;
        }
    }

    [Theory]
    [InlineData("standard")]
    [InlineData("0_1s_2s_3s")]
    public void Tokens_that_are_not_accepted_leave_no_trace(string map)
    {
        using LoadedModel model = Load(map);
        int[] right = [.. Enumerable.Range(0, 60).Select(i => 3 + i * 11 % 31)];
        KvSequence kept = model.Store.Open(), other = model.Store.Open(), alone = model.Store.Open();
        model.Store.Match(kept, right, new KvScope("salt"));
        float[] last = [], expected = [];
        var random = new Random(4);
        while (kept.Length < right.Length)
        {
            // Some right tokens and some wrong ones after them, beside a sequence that changes places with it.
            int good = Math.Min(random.Next(1, 5), right.Length - kept.Length), bad = Math.Min(random.Next(0, 5), 64 - kept.Length - good);
            int[] rows = [.. right.AsSpan(kept.Length, good), .. Enumerable.Repeat(39, bad)];
            bool first = random.Next(2) == 0;
            model.Pass.Clear();
            if (!first)
            {
                model.Pass.TryAdd(other, [7], wanted: 1);
            }
            int item = model.Pass.TryAdd(kept, rows, wanted: bad + 1);
            Tensor logits = model.Pass.Run();
            last = new float[model.Config.Vocabulary];
            model.Backend.Read(MemoryMarshal.AsBytes(last.AsSpan()), logits.Slice(model.Pass.RowOf(item), 1));
            model.Pass.Accept(item, good);
            if (!first)
            {
                model.Pass.Accept(0);
            }
            model.Store.Verify();
        }
        for (int at = 0; at < right.Length; at += 20)
        {
            model.Pass.Clear();
            model.Pass.TryAdd(alone, right.AsSpan(at, 20), wanted: 1);
            expected = new float[model.Config.Vocabulary];
            model.Backend.Read(MemoryMarshal.AsBytes(expected.AsSpan()), model.Pass.Run());
            model.Pass.Accept(0);
        }
        Assert.Equal(expected, last);
        // Nobody finds a token that was rejected.
        Assert.Equal(0, model.Store.Peek([39, .. right], new KvScope("salt")));
        Assert.Equal(48, model.Store.Peek([.. right, 39], new KvScope("salt")));
    }

    [Fact]
    public void A_sequence_that_the_store_has_no_room_for_changes_nothing()
    {
        using LoadedModel model = LoadedModel.Load(rig.Folder, new()
        {
            Device = "cpu", Threads = 1, KvType = "f32", PageTokens = 16, MaxSequences = 3, MaxStepTokens = 64, MaxDraftTokens = 0,
            KvBudgetBytes = 2 * new KvLayout(LayerSharing.Parse("standard", 4), 1, 8, DType.F32, 16).Classes.Sum(c => c.PageBytes),
        });
        KvSequence first = model.Store.Open(), second = model.Store.Open();
        model.Pass.Clear();
        Assert.Equal(0, model.Pass.TryAdd(first, new int[20], wanted: 1));
        Assert.Equal(-1, model.Pass.TryAdd(second, [3], wanted: 1));
        Assert.Equal((1, 44, 2), (model.Pass.Count, model.Pass.Room, model.Pass.WantedRoom));
    }
}
