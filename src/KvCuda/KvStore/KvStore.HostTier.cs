namespace KvCuda.KvStore;

// The host tier: cached pages that must leave the device go to host memory while there is room, and come back when a prompt
// needs them. A page is on the device or in the tier, never in both; the tree's node says where. In the tier a page is always
// cached: nobody uses it, no pin holds it.
internal sealed partial class KvStore
{
    readonly PagePool? host;
    readonly IndexedHeap[] hostCandidates;     // per class: pages of the tier that may be forgotten, by priority and last use
    readonly int[] one;                        // scratch of BringUp

    /// <summary>Bytes to allocate in host memory; 0 if there is no host tier.</summary>
    public long HostArenaBytes => host is null ? 0 : host.Slabs * SlabBytes;

    /// <summary>
    /// Lets cached pages go down ahead of need, worst first, until so many more tokens would find their pages free: whoever
    /// takes them then need not wait for the copies. Nothing is forgotten for it that would be worth keeping in the tier.
    /// </summary>
    public void MoveAhead(int tokens)
    {
        ExpectOwner();
        if (host is null)
        {
            return;
        }
        long least = 0;
        for (int c = 0; c < held.Length; c++)
        {
            least += SlabsFor(c, held[c] + (long)PagesOf(tokens));
        }
        while (least <= pool.Slabs && candidates.Count > 0)
        {
            long slabs = 0;
            for (int c = 0; c < held.Length; c++)
            {
                slabs += SlabsFor(c, pool.Used(c) + (long)PagesOf(tokens));
            }
            if (slabs <= pool.Slabs || !MoveDown(candidates.First))
            {
                return;
            }
        }
    }

    // Moves a page that may be evicted to the tier, for which others may leave the tier. False if it is worth less than those.
    bool MoveDown(int id)
    {
        if (host is null)
        {
            return false;
        }
        int node = tree.NodeOf(id), c = tree.ClassOf(id);
        ref PrefixTree.Unit unit = ref tree.UnitOf(id);
        bool full = Layout.Classes[c].IsFull;
        if (EndOfLife(node, unit) <= now && (!full || tree[node].FirstChild == None))
        {
            return false;
        }
        while (!host.HasRoomFor(c))
        {
            // Of pages that nothing hangs on, the worst goes; without this one, those that hang on it would be worth nothing.
            bool alone = !full || tree[node].FirstChild == None;
            if (hostCandidates[c].Count == 0 || (alone && candidates.KeyOf(id) < hostCandidates[c].FirstKey))
            {
                return false;
            }
            Evict(hostCandidates[c].First, KvEviction.Capacity);
        }
        int page = unit.Page, hostPage = host.Take(c);
        pool.CopyDown(page, host.Granule(hostPage));
        candidates.Remove(id);
        expiries.Remove(id);
        (unit.Page, unit.HostPage) = (None, hostPage);
        unitOfPage[page] = None;
        pool.Release(page);
        counters.MovedDown++;
        CountDeviceChild(node, c, -1);
        OfferForEviction(node, c);
        return true;
    }

    // Brings a page up for a sequence. There is room: Find has counted it.
    void BringUp(int id)
    {
        int node = tree.NodeOf(id), c = tree.ClassOf(id);
        one[c] = 1;
        bool room = MakeRoom(one);
        one[c] = 0;
        if (!room)
        {
            throw new InvalidOperationException("A page of the host tier was found that there is no room for.");
        }
        int page = pool.Take(c);
        ref PrefixTree.Unit unit = ref tree.UnitOf(id);
        pool.CopyUp(host!.Granule(unit.HostPage), page);
        host.Release(unit.HostPage);
        (unit.Page, unit.HostPage, unit.Expected) = (page, None, false);
        unitOfPage[page] = id;
        pool.AddReference(page);
        held[c]++;
        counters.MovedUp++;
        CountDeviceChild(node, c, +1);
    }

    // A page that a sequence computed again takes the place of the one in the tier.
    void Replace(int id, int page)
    {
        ref PrefixTree.Unit unit = ref tree.UnitOf(id);
        hostCandidates[tree.ClassOf(id)].Remove(id);
        expiries.Remove(id);
        host!.Release(unit.HostPage);
        (unit.Page, unit.HostPage) = (page, None);
        pool.AddReference(page);
        unitOfPage[page] = id;
        CountDeviceChild(tree.NodeOf(id), tree.ClassOf(id), +1);
    }

    // Marks what a match is about to bring up, so that making room for it does not push it out.
    void MarkExpected(int id)
    {
        tree.UnitOf(id).Expected = true;
        hostCandidates[tree.ClassOf(id)].Remove(id);
        expiries.Remove(id);
    }

    // A page of the full class came to the device or left it: its parent can leave the device when none of its children is there.
    void CountDeviceChild(int node, int c, int change)
    {
        int parent = tree[node].Parent;
        if (!Layout.Classes[c].IsFull || parent == None)
        {
            return;
        }
        tree[parent].DeviceChildren += change;
        if (tree[parent].DeviceChildren == 0)
        {
            OfferForEviction(parent, c);
        }
    }
}
