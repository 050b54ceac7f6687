using KvCuda.KvStore;
using KvCuda.Tensors;
using Store = KvCuda.KvStore.KvStore;

namespace KvCuda.Tests.KvStore;

public sealed class KvStoreTests
{
    // Pages of 2 tokens, 1 head of 16 f32: 256 bytes per owner, two granules.
    static KvLayout Layout(string map, int window = 0) =>
        new(LayerSharing.Parse(map, map.Split('_').Length, window), 1, 16, DType.F32, 2);

    static int[] Table(KvSequence s, int c, int n = 16)
    {
        int[] row = new int[n];
        s.WriteTable(c, row);
        return row;
    }

    [Fact]
    public void Pages_hold_the_owners_of_one_window_and_nobody_else()
    {
        KvLayout layout = Layout("0s_1s_2_2_2s", 3);
        Assert.Equal(2, layout.Classes.Count);
        Assert.Equal([2], layout.Classes[0].Owners);
        Assert.Equal([0, 1], layout.Classes[1].Owners);
        Assert.Equal(512, layout.Classes[1].PageBytes);
        Assert.Equal(256, layout.LayerOffset(1));
        Assert.Equal(1, layout.ClassOf(1));
        Assert.Equal(384, layout.BytesPerToken);
        Assert.Equal(0, layout.BytesPerTokenOf(3));
    }

    [Fact]
    public void Reserving_is_all_or_nothing()
    {
        var store = new Store(Layout("0"), 3 * 256, 256);
        KvSequence s = store.Open();
        Assert.False(store.TryReserve(s, 7));
        Assert.Equal(0, store.BytesHeld(s));
        Assert.True(store.TryReserve(s, 6));
        Assert.Equal(768, store.BytesHeld(s));
        Assert.True(store.CanEverFit(6, [], new("")));
        Assert.False(store.CanEverFit(7, [], new("")));
        Assert.False(store.WouldFit(1, [], new("")));
        store.Close(s);
        Assert.True(store.WouldFit(6, [], new("")));
        Assert.Equal(768, store.Usage.FreeBytes);
    }

    [Fact]
    public void A_window_class_gives_pages_back_that_no_row_will_see()
    {
        var store = new Store(Layout("0s", 3), 8 * 256, 256);
        KvSequence s = store.Open();
        Assert.True(store.TryReserve(s, 9));
        store.Advance(s, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        int[] row = Table(s, 0, 6);
        // The next row, at 9, sees 7, 8 and itself: pages 3 and 4.
        Assert.Equal([-1, -1, -1], row[..3]);
        Assert.True(row[3] >= 0 && row[4] >= 0);
        Assert.Equal(-1, row[5]);
    }

    [Fact]
    public void A_fork_shares_pages_until_one_of_the_two_writes()
    {
        var store = new Store(Layout("0"), 8 * 256, 256);
        KvSequence s = store.Open();
        Assert.True(store.TryReserve(s, 3));
        store.Advance(s, [1, 2, 3]);
        KvSequence f = store.Fork(s);
        Assert.Equal(Table(s, 0), Table(f, 0));
        Assert.Equal(2, store.Usage.ActivePages);
        Assert.True(store.TryReserve(f, 1));
        PageCopy copy = Assert.Single(store.TakeCopies());
        Assert.Equal(new(Table(s, 0)[1], Table(f, 0)[1], 256), copy);
        Assert.Equal(Table(s, 0)[0], Table(f, 0)[0]);
        Assert.True(store.TryReserve(s, 1));
        Assert.Empty(store.TakeCopies());
    }

    [Fact]
    public void Truncating_behind_a_window_forgets_more()
    {
        var store = new Store(Layout("0s_1", 3), 40 * 256, 256);
        KvSequence s = store.Open();
        Assert.True(store.TryReserve(s, 9));
        store.Advance(s, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        store.Truncate(s, 8);
        Assert.Equal(8, s.Length);
        store.Truncate(s, 7);
        Assert.Equal(0, s.Length);
        Assert.Equal(0, store.BytesHeld(s));
    }

    [Fact]
    public void Scattered_pages_are_moved_together_when_another_kind_needs_a_slab()
    {
        // 8 slabs of 2 pages of either kind; 8 sequences fill 4 slabs of each.
        var store = new Store(Layout("0s_1", 1), 8 * 512, 512);
        KvSequence[] all = [.. Enumerable.Range(0, 8).Select(_ => store.Open())];
        foreach (KvSequence s in all)
        {
            Assert.True(store.TryReserve(s, 2));
        }
        Assert.Equal(0, store.Usage.FreeSlabs);
        for (int i = 0; i < 8; i += 2)
        {
            store.Advance(all[i], [1, 2]);
        }
        // Every slab of the window kind holds one page now, and the full kind needs a fifth slab.
        Assert.Equal(4, store.Usage.Kinds[1].Slabs);
        Assert.True(store.TryReserve(all[0], 2));
        Assert.Equal(5, store.Usage.Kinds[0].Slabs);
        Assert.Equal(3, store.Usage.Kinds[1].Slabs);
        Assert.Equal(1, store.Moves);
        PageCopy copy = Assert.Single(store.TakeCopies());
        Assert.Contains(all, s => !s.IsClosed && Table(s, 1).Contains(copy.Destination));
        Assert.Equal(13, all.Sum(s => Table(s, 0).Count(g => g >= 0) + Table(s, 1).Count(g => g >= 0)) - 1);
        Assert.False(store.TryReserve(all[2], 4));
    }

    [Fact]
    public void A_budget_below_one_page_per_class_is_refused()
    {
        KvBudgetException e = Assert.Throws<KvBudgetException>(() => new Store(Layout("0s_1", 3), 320));
        Assert.Equal(320, e.BudgetBytes);
        Assert.True(e.NeededBytes >= 512);
    }
}
