namespace KvCuda.Text.Bpe;

/// <summary>
/// The symbols of one word while byte pair encoding joins them: always the pair of lowest rank, the leftmost of equals, until
/// no pair has a rank (Sennrich et al. 2016).
/// </summary>
/// <remarks>
/// Short words look for the lowest rank by looking at all of them; long ones keep candidates in a heap, so that n symbols take
/// O(n log n) however long the word is. Some models hand over the whole text as one word.
/// </remarks>
sealed class SymbolList
{
    const int ShortWord = 40; // symbols; below it a scan of a few cache lines beats the heap's bookkeeping

    int[] ids = new int[64];
    int[] starts = new int[65];  // byte offset of each symbol; starts[count] = end of the word
    int[] next = [];
    int[] previous = [];
    int[] ranks = new int[64];
    ulong[] heap = [];           // rank << 32 | position of the left symbol
    int heapCount;
    int count;

    public void Clear() => count = 0;

    public int Count => count;

    public void Add(int id, int start)
    {
        if (count == ids.Length)
        {
            Array.Resize(ref ids, count * 2);
            Array.Resize(ref starts, count * 2 + 1);
        }

        ids[count] = id;
        starts[count++] = start;
    }

    public ReadOnlySpan<int> Ids => ids.AsSpan(0, count);

    /// <summary>Bytes that a symbol covers, once <see cref="Merge"/> is done.</summary>
    public int LengthOf(int symbol) => starts[symbol + 1] - starts[symbol];

    /// <summary>Joins symbols until no merge applies.</summary>
    public void Merge(MergeTable merges, int end)
    {
        starts[count] = end;
        if (count < 2)
        {
            return;
        }

        if (count <= ShortWord)
        {
            MergeByScan(merges);
        }
        else
        {
            MergeByHeap(merges);
        }

        starts[count] = end;
    }

    void MergeByScan(MergeTable merges)
    {
        Span<int> ids = this.ids, ranks = this.ranks, starts = this.starts;
        for (int i = 0; i + 1 < count; i++)
        {
            ranks[i] = RankOf(merges, ids[i], ids[i + 1]);
        }

        while (true)
        {
            int best = -1, lowest = int.MaxValue;
            for (int i = 0; i + 1 < count; i++)
            {
                if (ranks[i] < lowest)
                {
                    (best, lowest) = (i, ranks[i]);
                }
            }

            if (best < 0)
            {
                return;
            }

            merges.Rank(ids[best], ids[best + 1], out ids[best]);
            int moved = count - best - 2;
            ids.Slice(best + 2, moved).CopyTo(ids[(best + 1)..]);
            starts.Slice(best + 2, moved).CopyTo(starts[(best + 1)..]);
            ranks.Slice(best + 2, moved).CopyTo(ranks[(best + 1)..]);
            count--;
            if (best + 1 < count)
            {
                ranks[best] = RankOf(merges, ids[best], ids[best + 1]);
            }

            if (best > 0)
            {
                ranks[best - 1] = RankOf(merges, ids[best - 1], ids[best]);
            }
        }
    }

    static int RankOf(MergeTable merges, int left, int right)
    {
        int rank = merges.Rank(left, right, out _);
        return rank < 0 ? int.MaxValue : rank;
    }

    void MergeByHeap(MergeTable merges)
    {
        if (next.Length < count)
        {
            next = new int[ids.Length];
            previous = new int[ids.Length];
        }

        heapCount = 0;
        for (int i = 0; i < count; i++)
        {
            next[i] = i + 1 < count ? i + 1 : -1;
            previous[i] = i - 1;
        }

        for (int i = 0; i + 1 < count; i++)
        {
            Push(merges, i, i + 1);
        }

        while (heapCount > 0)
        {
            ulong top = Pop();
            int rank = (int)(top >> 32), left = (int)(uint)top;

            // An entry is stale if its left symbol is gone (id -1) or one of the two has grown since.
            if (ids[left] < 0 || next[left] < 0 || merges.Rank(ids[left], ids[next[left]], out int merged) != rank)
            {
                continue;
            }

            int right = next[left];
            ids[left] = merged;
            ids[right] = -1;
            next[left] = next[right];
            if (next[left] >= 0)
            {
                previous[next[left]] = left;
                Push(merges, left, next[left]);
            }

            if (previous[left] >= 0)
            {
                Push(merges, previous[left], left);
            }
        }

        int kept = 0;
        for (int i = 0; i >= 0; i = next[i])
        {
            (ids[kept], starts[kept]) = (ids[i], starts[i]);
            kept++;
        }

        count = kept;
    }

    void Push(MergeTable merges, int left, int right)
    {
        int rank = merges.Rank(ids[left], ids[right], out _);
        if (rank < 0)
        {
            return;
        }

        if (heapCount == heap.Length)
        {
            Array.Resize(ref heap, Math.Max(256, heapCount * 2));
        }

        ulong entry = ((ulong)(uint)rank << 32) | (uint)left;
        int hole = heapCount++;
        while (hole > 0 && heap[(hole - 1) / 4] > entry)
        {
            heap[hole] = heap[(hole - 1) / 4];
            hole = (hole - 1) / 4;
        }

        heap[hole] = entry;
    }

    // Four children a node: fewer levels, and the children share a cache line.
    ulong Pop()
    {
        ulong top = heap[0], last = heap[--heapCount];
        int hole = 0;
        while (true)
        {
            int child = hole * 4 + 1;
            if (child >= heapCount)
            {
                break;
            }

            int smallest = child;
            for (int i = child + 1; i < Math.Min(child + 4, heapCount); i++)
            {
                smallest = heap[i] < heap[smallest] ? i : smallest;
            }

            if (heap[smallest] >= last)
            {
                break;
            }

            heap[hole] = heap[smallest];
            hole = smallest;
        }

        heap[hole] = last;
        return top;
    }
}
