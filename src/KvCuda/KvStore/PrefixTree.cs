using System.Runtime.InteropServices;

namespace KvCuda.KvStore;

/// <summary>
/// The token sequences whose pages are known, as a tree per scope: a node is one full page of tokens, and keeps one page
/// per class (or none). Token ids themselves are compared; the 64-bit hash only finds the candidates.
/// </summary>
internal sealed class PrefixTree(int pageTokens, int classes, ulong hashMask = ulong.MaxValue)
{
    public const int None = -1;

    internal struct Node
    {
        public int Parent, FirstChild, Next, Previous, NextInBucket;
        public int Depth;            // pages from the root
        public int Users;            // sequences that would add a child here
        public int DeviceChildren;   // children whose page of the full class is on the device
        public int Hits;             // times it was found
        public int Generation;       // grows when the node is removed
        public int Priority;
        public long TimeToLive;
        public long Publisher;       // the session that computed it; 0: none
        public bool Shared;          // used by others than its publisher
        public bool Restored;        // came from a snapshot
        public bool Alive;
        public ulong Hash;
    }

    /// <summary>The page of one class of one node, on the device or in the host tier: what eviction works on.</summary>
    internal struct Unit
    {
        public static readonly Unit Empty = new() { Page = None, HostPage = None };

        public int Page, HostPage, Pins;
        public bool Expected;        // in the host tier, about to come up
        public long Stamp;           // order of last use
        public long Born, LastUse;   // milliseconds

        public readonly bool IsEmpty => Page == None && HostPage == None;
    }

    readonly Dictionary<KvScope, int> roots = [];
    readonly Dictionary<int, KvScope> scopes = [];
    Node[] nodes = new Node[64];
    Unit[] units = new Unit[64 * classes];
    int[] tokens = new int[64 * pageTokens];
    int[] buckets = NewBuckets(64);
    int made, free = None;

    /// <summary>Nodes alive, roots included.</summary>
    public int Count { get; private set; }

    /// <summary>Node numbers are below this.</summary>
    public int Made => made;

    public IReadOnlyDictionary<KvScope, int> Roots => roots;

    public ref Node this[int node] => ref nodes[node];

    public ref Unit UnitOf(int unit) => ref units[unit];

    public int UnitId(int node, int pageClass) => node * classes + pageClass;

    public int NodeOf(int unit) => unit / classes;

    public int ClassOf(int unit) => unit % classes;

    public ReadOnlySpan<int> Tokens(int node) => tokens.AsSpan(node * pageTokens, pageTokens);

    public bool IsAlive(int node, int generation) => nodes[node].Generation == generation && nodes[node].Alive;

    /// <summary>The root of a scope, or None.</summary>
    public int FindRoot(in KvScope scope) => roots.TryGetValue(scope, out int root) ? root : None;

    public int GetRoot(in KvScope scope)
    {
        if (!roots.TryGetValue(scope, out int root))
        {
            root = New(None, 0);
            roots.Add(scope, root);
            scopes.Add(root, scope);
        }
        return root;
    }

    /// <summary>The child whose page holds exactly these tokens, or None.</summary>
    public int Find(int parent, ReadOnlySpan<int> page)
    {
        ulong hash = Hash(nodes[parent], parent, page);
        for (int n = buckets[Bucket(hash)]; n != None; n = nodes[n].NextInBucket)
        {
            if (nodes[n].Hash == hash && nodes[n].Parent == parent && Tokens(n).SequenceEqual(page))
            {
                return n;
            }
        }
        return None;
    }

    public int Add(int parent, ReadOnlySpan<int> page)
    {
        if (Count >= buckets.Length)
        {
            Rehash(2 * buckets.Length);
        }
        int n = New(parent, nodes[parent].Depth + 1);
        page.CopyTo(tokens.AsSpan(n * pageTokens));
        ref Node node = ref nodes[n];
        node.Hash = Hash(nodes[parent], parent, page);
        ref int bucket = ref buckets[Bucket(node.Hash)];
        node.NextInBucket = bucket;
        bucket = n;
        node.Next = nodes[parent].FirstChild;
        if (node.Next != None)
        {
            nodes[node.Next].Previous = n;
        }
        nodes[parent].FirstChild = n;
        return n;
    }

    /// <summary>Removes a node that has no children and no pages.</summary>
    public void Remove(int n)
    {
        ref Node node = ref nodes[n];
        if (node.Parent == None)
        {
            scopes.Remove(n, out KvScope scope);
            roots.Remove(scope);
        }
        else
        {
            ref int link = ref buckets[Bucket(node.Hash)];
            while (link != n)
            {
                link = ref nodes[link].NextInBucket;
            }
            link = node.NextInBucket;
            if (node.Previous == None)
            {
                nodes[node.Parent].FirstChild = node.Next;
            }
            else
            {
                nodes[node.Previous].Next = node.Next;
            }
            if (node.Next != None)
            {
                nodes[node.Next].Previous = node.Previous;
            }
        }
        node.Alive = false;
        node.Generation++;
        node.Next = free;
        free = n;
        Count--;
    }

    public bool HasPages(int n)
    {
        for (int c = 0; c < classes; c++)
        {
            if (!units[n * classes + c].IsEmpty)
            {
                return true;
            }
        }
        return false;
    }

    int New(int parent, int depth)
    {
        int n = free;
        if (n != None)
        {
            free = nodes[n].Next;
        }
        else
        {
            n = made++;
            if (n == nodes.Length)
            {
                Array.Resize(ref nodes, 2 * n);
                Array.Resize(ref units, 2 * n * classes);
                Array.Resize(ref tokens, checked(2 * n * pageTokens));
            }
        }
        nodes[n] = new Node
        {
            Parent = parent,
            Depth = depth,
            FirstChild = None,
            Next = None,
            Previous = None,
            NextInBucket = None,
            Generation = nodes[n].Generation,
            Priority = KvRetention.Default.Priority,
            Alive = true,
        };
        for (int c = 0; c < classes; c++)
        {
            units[n * classes + c] = Unit.Empty;
        }
        Count++;
        return n;
    }

    // A root's hash is its number, so that equal tokens of different scopes meet in no bucket for long.
    ulong Hash(in Node parent, int parentId, ReadOnlySpan<int> page)
    {
        ulong h = parent.Parent == None ? (ulong)(uint)parentId : parent.Hash;
        foreach (uint token in MemoryMarshal.Cast<int, uint>(page))
        {
            // The finaliser of SplitMix64 (Steele et al. 2014) per token.
            h += token + 0x9E3779B97F4A7C15;
            h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9;
            h = (h ^ (h >> 27)) * 0x94D049BB133111EB;
            h ^= h >> 31;
        }
        return h & hashMask;
    }

    int Bucket(ulong hash) => (int)(hash & (ulong)(buckets.Length - 1));

    void Rehash(int size)
    {
        buckets = NewBuckets(size);
        for (int n = 0; n < made; n++)
        {
            if (nodes[n].Alive && nodes[n].Parent != None)
            {
                ref int bucket = ref buckets[Bucket(nodes[n].Hash)];
                nodes[n].NextInBucket = bucket;
                bucket = n;
            }
        }
    }

    static int[] NewBuckets(int size)
    {
        int[] buckets = new int[size];
        Array.Fill(buckets, None);
        return buckets;
    }
}
