using KvCuda.Tensors;

namespace KvCuda.KvStore;

// Cached work that outlives the process.
internal sealed partial class KvStore
{
    /// <summary>
    /// Writes a sequence's tokens with their keys and values to a file, which replaces the one at <paramref name="path"/> in
    /// one step. To save a session between turns, open a sequence, <see cref="Match"/> its tokens, save and close it.
    /// </summary>
    /// <exception cref="InvalidRequestException">The sequence streams and has forgotten tokens.</exception>
    public void Save(string path, KvSequence s, KvSnapshotIdentity identity, IKvBytes arena)
    {
        Expect(s);
        if (s.Streaming is { } t && s.Length > t.ExactTokens)
        {
            throw new InvalidRequestException(
                $"A streaming sequence of {s.Length} tokens has forgotten some of them and cannot be saved; the first {t.ExactTokens} could have been.");
        }
        arena.Play(TakeCopies());
        KvSnapshotWriter.Save(path, s, Layout, identity, arena);
    }

    /// <summary>
    /// Puts a snapshot's whole pages into the prefix tree, where <see cref="Match"/> finds them. The file is read and found
    /// whole before the store is touched; if anything fails, nothing has entered the tree.
    /// </summary>
    /// <param name="from">the snapshot; can seek</param>
    /// <param name="scope">who may reuse it</param>
    /// <param name="identity">of the model that runs</param>
    /// <param name="arena">where the bytes go; all work queued on the arena comes before</param>
    /// <param name="retention">how long it is kept</param>
    /// <returns>
    /// Tokens that a longer prompt finds now. 0 if the pages in use leave no room, or if the snapshot's window is too short
    /// for this page size.
    /// </returns>
    /// <exception cref="KvSnapshotException">The snapshot is damaged, another model's or a later version's.</exception>
    /// <exception cref="KvBudgetException">It can never fit.</exception>
    public int Restore(Stream from, in KvScope scope, KvSnapshotIdentity identity, IKvBytes arena, KvRetention? retention = null)
    {
        var reader = new KvSnapshotReader(from, Layout, identity);
        int[] tokens = reader.Header.Tokens;
        int full = FullPages(reader.Header);
        long slabs = 0;
        for (int c = 0; c < held.Length; c++)
        {
            need[c] = 0;
            for (int j = 0; j < full; j++)
            {
                need[c] += Covers(reader.Header.Classes[c], j) ? 1 : 0;
            }
            slabs += SlabsFor(c, need[c]);
        }
        if (slabs > pool.Slabs)
        {
            throw new KvBudgetException(
                $"The snapshot's {tokens.Length} tokens need {slabs * SlabBytes} bytes of pages, the key/value budget is {ArenaBytes}.",
                slabs * SlabBytes, ArenaBytes);
        }
        if (full == 0 || !MakeRoom(need))
        {
            return 0;
        }
        KvSequence s = Open();
        try
        {
            s.GrowPages(full);
            for (int c = 0; c < held.Length; c++)
            {
                for (int j = 0; j < full; j++)
                {
                    if (Covers(reader.Header.Classes[c], j))
                    {
                        s.Pages(c)[j] = pool.Take(c);
                        held[c]++;
                    }
                }
            }
            arena.Play(TakeCopies()); // copies that were queued come before what is written now
            for (int c = 0; c < held.Length; c++)
            {
                Fill(s, c, reader, arena);
            }
            s.Append(tokens.AsSpan(0, full * pageTokens));
            if (retention is { } keep)
            {
                Retain(s, 0, s.Length, keep);
            }
            int root = tree.GetRoot(scope), known = 0;
            for (int node = root; node != None && known < full; known += node == None ? 0 : 1)
            {
                node = tree.Find(node, tokens.AsSpan(known * pageTokens, pageTokens));
            }
            MoveCursor(s, root, tree[root].Generation);
            Publish(s);
            for (int node = s.Cursor; tree[node].Depth > known; node = tree[node].Parent)
            {
                tree[node].Restored = true;
            }
        }
        finally
        {
            Close(s);
        }
        return Peek([.. tokens.AsSpan(0, full * pageTokens), 0], scope);
    }

    // Whole pages from the first on of which full classes have every token.
    int FullPages(KvSnapshotHeader header)
    {
        int full = header.Tokens.Length / pageTokens;
        for (int c = 0; c < held.Length; c++)
        {
            for (int j = 0; Layout.Classes[c].IsFull && j < full; j++)
            {
                full = Covers(header.Classes[c], j) ? full : j;
            }
        }
        return full;
    }

    bool Covers(KvSnapshotClass of, int j)
    {
        foreach (KvTokenRange range in of.Ranges)
        {
            if (range.Start <= j * pageTokens && range.End >= (j + 1) * pageTokens)
            {
                return true;
            }
        }
        return false;
    }

    void Fill(KvSequence s, int c, KvSnapshotReader reader, IKvBytes arena)
    {
        var codec = new KvTokenBytes(Layout, c);
        byte[] page = new byte[Layout.Classes[c].PageBytes];
        reader.ReadClass(c, (token, bytes) =>
        {
            int j = token / pageTokens, last = pageTokens - 1;
            if (j >= s.PageCount || s.Pages(c)[j] == None)
            {
                return;
            }
            codec.Scatter(page, bytes, token & last);
            if ((token & last) == last)
            {
                arena.Write((long)Granule(s.Pages(c)[j]) * KvPageShape.GranuleBytes, page);
            }
        });
    }
}
