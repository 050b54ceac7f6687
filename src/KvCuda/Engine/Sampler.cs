// The choice of next tokens: one list of rows, what their penalties look at, and the log-probabilities that are asked for.
using System.Runtime.InteropServices;
using KvCuda.Backends;
using KvCuda.Tensors;

namespace KvCuda.Engine;

/// <summary>
/// Chooses a token for every row of a step's logits. Rows are added in the order of the logits' rows, several for one sequence
/// where it wants several. Used by one thread, again and again after <see cref="Clear"/>.
/// </summary>
internal sealed class Sampler : IDisposable
{
    readonly IBackend backend;
    readonly Tensor nextTokens, parameters;
    readonly SampleRow[] rows;
    readonly int?[] logprobs;     // per row: how many alternatives are reported; null: nothing is
    readonly float[]?[] kept;     // per row: its logits before penalties, where log-probabilities are asked for
    readonly int[] chosen;
    readonly List<int> histories = [];
    readonly int vocabulary;
    Tensor history;
    int count;

    /// <param name="backend">chooses</param>
    /// <param name="maxRows">most rows of one step</param>
    /// <param name="vocabulary">logits per row</param>
    public Sampler(IBackend backend, int maxRows, int vocabulary)
    {
        (this.backend, this.vocabulary) = (backend, vocabulary);
        nextTokens = backend.Allocate("next tokens", DType.I32, 1, maxRows);
        parameters = backend.Allocate("sampling", DType.I32, maxRows, SampleRow.Words);
        history = backend.Allocate("history", DType.I32, 1, 1024);
        rows = new SampleRow[maxRows];
        logprobs = new int?[maxRows];
        kept = new float[]?[maxRows];
        chosen = new int[maxRows];
    }

    /// <summary>The likeliest token, whatever came before.</summary>
    public static SampleRow Greedy => new() { RepetitionPenalty = 1, TopP = 1 };

    /// <summary>Begins the rows of a new step.</summary>
    public void Clear()
    {
        count = 0;
        histories.Clear();
    }

    /// <summary>Adds the next row of the logits.</summary>
    /// <param name="row">how its token is chosen; its place in the history is filled in here</param>
    /// <param name="seen">distinct tokens that its repetition penalty applies to</param>
    /// <param name="alternatives">how many of the likeliest tokens to report with their log-probabilities; null: no log-probability</param>
    public void Add(SampleRow row, ReadOnlySpan<int> seen = default, int? alternatives = null)
    {
        (row.HistoryStart, row.HistoryCount) = (histories.Count, seen.Length);
        histories.AddRange(seen);
        logprobs[count] = alternatives;
        rows[count++] = row;
    }

    /// <summary>Chooses a token for every row.</summary>
    /// <param name="logits">(rows added, vocabulary); penalties are applied in place</param>
    /// <returns>a token per row, valid until the next call</returns>
    public ReadOnlySpan<int> Choose(in Tensor logits)
    {
        Queue(logits);
        return Read();
    }

    /// <summary>The half of <see cref="Choose"/> that does not wait for the device.</summary>
    public void Queue(in Tensor logits)
    {
        if (count != logits.Rows)
        {
            throw new InvalidOperationException($"{count} rows are to be chosen from, but there are logits of {logits.Rows}.");
        }
        if (count == 0)
        {
            return;
        }
        if (histories.Count > history.Columns)
        {
            backend.Free(history.Address);
            history = backend.Allocate("history", DType.I32, 1, histories.Count * 2);
        }
        backend.Write(history.Range(0, histories.Count), MemoryMarshal.AsBytes(CollectionsMarshal.AsSpan(histories)));
        backend.Write(parameters.Top(count), MemoryMarshal.AsBytes(rows.AsSpan(0, count)));
        KeepLogits(logits);
        backend.Sample(nextTokens.Range(0, count), logits, parameters.Top(count), history);
    }

    /// <summary>Queues the same choice of the same rows again: for benches.</summary>
    public void QueueAgain(in Tensor logits) =>
        backend.Sample(nextTokens.Range(0, count), logits, parameters.Top(count), history);

    /// <summary>The other half: waits for the tokens.</summary>
    public ReadOnlySpan<int> Read()
    {
        if (count > 0)
        {
            backend.Read(MemoryMarshal.AsBytes(chosen.AsSpan(0, count)), nextTokens.Range(0, count));
        }
        return chosen.AsSpan(0, count);
    }

    /// <summary>The log-probability of the token chosen for a row, before penalties and temperature; null where none was asked for.</summary>
    public TokenLogprob? LogprobOf(int row) =>
        logprobs[row] is { } alternatives ? Logprobs.Of(kept[row].AsSpan(0, vocabulary), chosen[row], alternatives) : null;

    // Penalties change logits in place, so rows whose probabilities are wanted are copied before.
    void KeepLogits(in Tensor logits)
    {
        for (int row = 0; row < count; row++)
        {
            if (logprobs[row] is not null)
            {
                kept[row] ??= new float[vocabulary];
                backend.Read(MemoryMarshal.AsBytes(kept[row].AsSpan()), logits.Slice(row, 1));
            }
        }
    }

    public void Dispose()
    {
        backend.Free(nextTokens.Address);
        backend.Free(parameters.Address);
        backend.Free(history.Address);
    }
}
