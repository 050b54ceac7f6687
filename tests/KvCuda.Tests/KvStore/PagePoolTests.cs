using KvCuda.KvStore;

namespace KvCuda.Tests.KvStore;

public sealed class PagePoolTests
{
    [Fact]
    public void A_page_that_moves_waits_for_the_copy_down_of_an_earlier_list_also_where_its_own_list_overwrites_one_of_its_own()
    {
        // Slabs of two pages of kind 0 or one of kind 1.
        var pool = new PagePool([128, 256], slabBytes: 256, slabs: 3);
        var device = new LateDevice(pageTokens: 1);
        int a = pool.Take(0), b = pool.Take(0), c = pool.Take(0), d = pool.Take(0), e = pool.Take(1);
        foreach ((int page, ulong value) in ((int, ulong)[])[(a, 1), (b, 2), (c, 3), (d, 4), (e, 5)])
        {
            device.Cells(pool.Granule(page))[0] = value;
        }
        device.Play(pool.TakeCopies());

        int left = pool.Granule(a);
        pool.CopyDown(a, 0);
        pool.Release(a);
        device.Play(pool.TakeCopies());

        // A slab for kind 1: d moves where a was. Then another, where e was that this list copies down.
        pool.Release(c);
        pool.Take(1);
        Assert.Equal(left, pool.Granule(d));
        pool.CopyDown(e, 2);
        pool.Release(e);
        pool.Take(1);
        device.Play(pool.TakeCopies());

        Assert.Equal(4UL, device.Cells(pool.Granule(d))[0]);
        Assert.Equal(1UL, device.Settled().HostCells(0)[0]);
        // What is written now, over e, finds it copied down.
        Assert.Equal(5UL, device.HostCells(2)[0]);
    }
}
