// The store as it is drawn: states of pages, slab by slab, and the prefix tree's largest branches. Reads only.
namespace KvCuda.KvStore;

internal sealed partial class KvStore
{
    /// <summary>A branch of the prefix tree.</summary>
    internal readonly record struct Branch(KvScope Scope, int Node, int TrunkPages, long Pages, int Ends, long Hits, int Pinned);

    /// <summary>Per slab its kind (-1: not cut), and per page 0 free, 1 active, 2 active in several sequences, 3 cached, 4 pinned.</summary>
    public List<(int Kind, byte[] Pages)> DrawSlabs()
    {
        List<(int Kind, byte[] Pages)> slabs = pool.Draw();
        for (int node = 0; node < tree.Made; node++)
        {
            if (!tree[node].Alive)
            {
                continue;
            }
            for (int c = 0; c < held.Length; c++)
            {
                ref PrefixTree.Unit unit = ref tree.UnitOf(tree.UnitId(node, c));
                if (unit.Page != PrefixTree.None)
                {
                    // One reference is the tree's own.
                    (int slab, int slot) = pool.PlaceOf(unit.Page);
                    int references = pool.References(unit.Page);
                    slabs[slab].Pages[slot] = (byte)(references > 2 ? 2 : references == 2 ? 1 : unit.Pins > 0 ? 4 : 3);
                }
            }
        }
        return slabs;
    }

    /// <summary>The largest branches below the roots, largest first.</summary>
    /// <param name="most">how many</param>
    public List<Branch> DrawBranches(int most)
    {
        List<Branch> all = [];
        Stack<int> open = new();
        foreach ((KvScope scope, int root) in tree.Roots)
        {
            for (int top = tree[root].FirstChild; top != PrefixTree.None; top = tree[top].Next)
            {
                int trunk = 1, ends = 0, pins = 0;
                long pages = 0, hits = 0;
                for (int n = top; tree[n].FirstChild is var child and not PrefixTree.None && tree[child].Next == PrefixTree.None; n = child)
                {
                    trunk++;
                }
                open.Push(top);
                while (open.TryPop(out int node))
                {
                    pages++;
                    hits += tree[node].Hits;
                    ends += tree[node].FirstChild == PrefixTree.None ? 1 : 0;
                    pins += tree.UnitOf(tree.UnitId(node, 0)).Pins > 0 ? 1 : 0;
                    for (int child = tree[node].FirstChild; child != PrefixTree.None; child = tree[child].Next)
                    {
                        open.Push(child);
                    }
                }
                all.Add(new(scope, top, trunk, pages, ends, hits, pins));
            }
        }
        all.Sort((a, b) => b.Pages.CompareTo(a.Pages));
        return all[..Math.Min(most, all.Count)];
    }

    /// <summary>The tokens of a branch's first page.</summary>
    public ReadOnlySpan<int> TokensOf(in Branch branch) => tree.Tokens(branch.Node);
}
