namespace KvCuda.Model;

/// <summary>The rows of a batch that an iterated block is not finished with, in batch order.</summary>
internal sealed class ActiveRows(Batch batch)
{
    readonly int[] places = [.. Enumerable.Range(0, batch.RowCount)];
    readonly int[] sequences = batch.HostSequences.ToArray();
    readonly int[] rank = Ranks(batch.HostSequences);
    readonly int[] changed = new int[batch.RowCount];
    int[] description = [];

    public int Count { get; private set; } = batch.RowCount;

    /// <summary>One zero per active row.</summary>
    public ReadOnlySpan<int> Zeros
    {
        get
        {
            changed.AsSpan(0, Count).Clear();
            return changed.AsSpan(0, Count);
        }
    }

    /// <summary>Where a pass's verdicts are read into: not 0 where a row's stored keys or values changed.</summary>
    public Span<int> Changed => changed.AsSpan(0, Count);

    /// <summary>
    /// Lets go the rows that pass number <paramref name="pass"/> made final: a sequence's leading rows up to the first that
    /// changed (they saw what they would see again), and in any case its first <paramref name="pass"/> rows.
    /// </summary>
    public void DropFinished(int pass)
    {
        int kept = 0, sequence = -1;
        bool leading = true;
        for (int i = 0; i < Count; i++)
        {
            int place = places[i];
            if (sequences[place] != sequence)
            {
                sequence = sequences[place];
                leading = true;
            }
            leading &= changed[i] == 0;
            if (!leading && rank[place] >= pass)
            {
                places[kept++] = place;
            }
        }
        Count = kept;
    }

    /// <summary>Numbers per row of <see cref="Describe"/>, without and with streams.</summary>
    public const int Numbers = 4, NumbersOfStreams = 8;

    /// <summary>
    /// Token, position, sequence and place of the active rows: (4, stride). Where some rows slide (8, stride): true position and
    /// sink turn too, and last the spans, (stride, 2).
    /// </summary>
    public ReadOnlySpan<int> Describe(Batch batch, int stride)
    {
        int length = (batch.HasStreams ? NumbersOfStreams : Numbers) * stride;
        if (description.Length != length)
        {
            description = new int[length];
        }
        for (int i = 0; i < Count; i++)
        {
            description[i] = batch.HostTokens[places[i]];
            description[stride + i] = batch.HostPositions[places[i]];
            description[2 * stride + i] = sequences[places[i]];
            description[3 * stride + i] = places[i];
            if (batch.HasStreams)
            {
                (description[4 * stride + i], description[5 * stride + i], description[6 * stride + 2 * i],
                    description[6 * stride + 2 * i + 1]) = batch.HostStream(places[i]);
            }
        }
        return description;
    }

    // A row's place among the rows of its sequence in this batch.
    static int[] Ranks(ReadOnlySpan<int> sequences)
    {
        int[] ranks = new int[sequences.Length];
        for (int row = 1; row < ranks.Length; row++)
        {
            ranks[row] = sequences[row] == sequences[row - 1] ? ranks[row - 1] + 1 : 0;
        }
        return ranks;
    }
}
