using System.Runtime.InteropServices;
using KvCuda.Backends;
using KvCuda.KvStore;
using KvCuda.Tensors;

namespace KvCuda.Model;

/// <summary>
/// Prompts in models whose layers look upward. Inside a block of such layers the rows of a chunk depend on each other's
/// keys and values from layers not yet computed; every pass over the block makes at least one more row of each
/// sequence exact (LCKV, arXiv 2405.10637), so that iterating reaches the fixed point in at most as many passes as the chunk
/// has rows, and trained models reach it far sooner. The fixed point is what running token by token gives.
/// </summary>
internal sealed partial class Decoder
{
    /// <summary>Passes that the last <see cref="Forward"/> needed over its most stubborn block; 1 where nothing iterates.</summary>
    public int Passes { get; private set; }

    LayerBlock? BlockFrom(int layer)
    {
        foreach (LayerBlock block in sharing.IteratedBlocks)
        {
            if (block.First == layer)
            {
                return block;
            }
        }
        return null;
    }

    void IterateBlock(LayerBlock block, Batch batch, in Stream stream, PrefillMode mode)
    {
        for (int owner = block.First; owner <= block.Last; owner++)
        {
            if (IsReadFromBelow(owner))
            {
                backend.ZeroKv(KvOf(owner), stream.Rows);
            }
        }
        backend.CopyBytes(work.BlockInput.Address, stream.X.Address, stream.X.Bytes);

        ActiveRows active = new(batch);
        Stream current = stream;
        for (int pass = 1; ; pass++)
        {
            Passes = Math.Max(Passes, pass);
            Tensor changed = work.Changed.Range(0, active.Count);
            backend.Write(changed, MemoryMarshal.AsBytes(active.Zeros));
            for (int layer = block.First; layer <= block.Last; layer++)
            {
                Layer(layer, current, IsReadFromBelow(layer) ? changed : default);
            }
            if (pass > 1)
            {
                backend.Scatter(stream.X, current.X, work.Active.Slice(3, 1).Range(0, active.Count));
            }

            if (mode.Kind != PrefillKind.Iterative)
            {
                backend.Read(MemoryMarshal.AsBytes(active.Changed), changed);
                active.DropFinished(pass);
            }
            if (active.Count == 0 || (mode.Kind == PrefillKind.Iterative && pass == mode.Passes))
            {
                break;
            }
            current = Restart(batch, active);
        }
        // The rotations of the rows that iterated last are not those of the whole batch.
        Open(stream.Rows, stream.X, stream.H);
    }

    // The rows that still iterate, from the block's input.
    Stream Restart(Batch batch, ActiveRows active)
    {
        int stride = work.Active.Columns, count = active.Count;
        ReadOnlySpan<int> description = active.Describe(batch, stride);
        backend.Write(work.Active.Top(description.Length / stride), MemoryMarshal.AsBytes(description));
        StreamRows streams = !batch.HasStreams ? default : new(
            work.Active.Slice(4, 1).Range(0, count), work.Active.Slice(5, 1).Range(0, count),
            work.Active.Slice(6, 2).View(1, 2 * stride).Range(0, 2 * count).View(count, 2));
        BatchRows rows = new(
            work.Active.Slice(0, 1).Range(0, count),
            work.Active.Slice(1, 1).Range(0, count),
            work.Active.Slice(2, 1).Range(0, count), streams);
        Stream stream = Open(rows, work.Narrow, work.NarrowH);
        backend.Gather(stream.X, work.BlockInput, work.Active.Slice(3, 1).Range(0, active.Count));
        return stream;
    }

    // Only keys and values that a layer below reads carry anything from one pass to the next.
    bool IsReadFromBelow(int owner) => sharing.Owns(owner) && sharing.Readers(owner)[0] < owner;
}
