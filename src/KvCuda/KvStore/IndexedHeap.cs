namespace KvCuda.KvStore;

/// <summary>A binary min-heap of small integers with 64-bit keys, from which any member can be removed. O(log n), no garbage.</summary>
internal sealed class IndexedHeap
{
    int[] heap = new int[16];
    int[] place = [];            // id -> index in heap, plus 1; 0: not a member
    long[] keys = [];

    public int Count { get; private set; }

    public bool Contains(int id) => id < place.Length && place[id] != 0;

    /// <summary>The member of the smallest key.</summary>
    public int First => heap[0];

    public long FirstKey => keys[heap[0]];

    /// <summary>The key of a member.</summary>
    public long KeyOf(int id) => keys[id];

    /// <summary>Adds the id, or changes its key.</summary>
    public void Set(int id, long key)
    {
        if (id >= place.Length)
        {
            int size = Math.Max(id + 1, 2 * place.Length);
            Array.Resize(ref place, size);
            Array.Resize(ref keys, size);
        }
        keys[id] = key;
        if (place[id] == 0)
        {
            if (Count == heap.Length)
            {
                Array.Resize(ref heap, 2 * Count);
            }
            Put(Count++, id);
        }
        Settle(place[id] - 1);
    }

    /// <summary>Removes the id if it is a member.</summary>
    public void Remove(int id)
    {
        if (!Contains(id))
        {
            return;
        }
        int i = place[id] - 1;
        place[id] = 0;
        Count--;
        if (i < Count)
        {
            Put(i, heap[Count]);
            Settle(i);
        }
    }

    void Settle(int i)
    {
        int id = heap[i];
        long key = keys[id];
        for (; i > 0 && keys[heap[(i - 1) / 2]] > key; i = (i - 1) / 2)
        {
            Put(i, heap[(i - 1) / 2]);
        }
        for (int child = 2 * i + 1; child < Count; child = 2 * i + 1)
        {
            if (child + 1 < Count && keys[heap[child + 1]] < keys[heap[child]])
            {
                child++;
            }
            if (keys[heap[child]] >= key)
            {
                break;
            }
            Put(i, heap[child]);
            i = child;
        }
        Put(i, id);
    }

    void Put(int i, int id)
    {
        heap[i] = id;
        place[id] = i + 1;
    }
}
