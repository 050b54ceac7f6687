using System.Runtime.InteropServices;
using KvCuda.Backends;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Tensors;

namespace KvCuda.Engine;

/// <summary>
/// Logits after a prompt and the greedy tokens that follow, for any prefill mode, one sequence at a time or all in one
/// ragged batch: what exactness is checked with. Never stops at an end-of-sequence token.
/// </summary>
internal sealed class LogitsRun
{
    readonly LoadedModel model;
    readonly PrefillMode mode;
    readonly Batch batch;
    readonly Tensor nextTokens, greedyRows, noHistory;

    /// <param name="model">loaded with room for the prompts that will run together</param>
    /// <param name="mode">how prompts run</param>
    public LogitsRun(LoadedModel model, PrefillMode mode)
    {
        (this.model, this.mode) = (model, mode);
        batch = model.Batch;
        IBackend backend = model.Backend;
        nextTokens = backend.Allocate("next tokens", DType.I32, 1, batch.MaxSequences);
        greedyRows = backend.Allocate("greedy", DType.I32, batch.MaxSequences, SampleRow.Words);
        noHistory = backend.Allocate("history", DType.I32, 1, 1);
        SampleRow[] rows = new SampleRow[batch.MaxSequences];
        Array.Fill(rows, new() { RepetitionPenalty = 1, TopP = 1 });
        backend.Write(greedyRows, MemoryMarshal.AsBytes<SampleRow>(rows));
    }

    /// <summary>One sequence on its way.</summary>
    sealed class Sequence(int[] prompt, KvSequence kv)
    {
        public int[] Prompt => prompt;

        public KvSequence Kv => kv;

        public List<int> Tokens { get; } = [.. prompt];

        public float[]? Logits { get; set; }

        public int Generated => Tokens.Count - prompt.Length;
    }

    /// <summary>A prompt's outcome.</summary>
    /// <param name="Prompt">the prompt</param>
    /// <param name="Logits">(vocabulary): of the prompt's last position</param>
    /// <param name="Greedy">the likeliest tokens that follow, one after another</param>
    internal readonly record struct Outcome(int[] Prompt, float[] Logits, int[] Greedy);

    /// <summary>Runs all prompts together, sliding past the context if that is said.</summary>
    public IReadOnlyList<Outcome> Run(IReadOnlyList<int[]> prompts, int greedy, KvStreaming? streaming = null)
    {
        foreach (int[] prompt in prompts)
        {
            // The last token that is chosen is never run.
            int generated = Math.Max(greedy - 1, 0);
            model.CheckPrompt(prompt, generated, streaming);
            if (streaming is null && (long)prompt.Length + generated > model.MaxContext)
            {
                throw new InvalidRequestException(
                    $"A prompt of {prompt.Length} tokens and {greedy} greedy ones do not fit a context of {model.MaxContext}.");
            }
        }
        List<Sequence> sequences = [.. prompts.Select(prompt => new Sequence(prompt, model.Store.Open(streaming: streaming)))];
        try
        {
            while (Step(sequences, greedy)) { }
            return [.. sequences.Select(s => new Outcome(s.Prompt, s.Logits!, [.. s.Tokens.Skip(s.Prompt.Length).Take(greedy)]))];
        }
        finally
        {
            foreach (Sequence sequence in sequences)
            {
                model.Store.Close(sequence.Kv);
            }
        }
    }

    bool Step(List<Sequence> sequences, int greedy)
    {
        batch.Clear();
        List<(Sequence Sequence, int Start, int Count)> scheduled = [];
        foreach (Sequence sequence in sequences)
        {
            int rows = sequence.Generated >= Math.Max(greedy, 1) ? 0 : Math.Min(RowsFor(sequence), batch.Room);
            if (rows == 0)
            {
                continue;
            }
            int start = sequence.Kv.Length;
            if (!model.Store.TryReserve(sequence.Kv, rows))
            {
                throw new KvBudgetException(
                    $"The key/value budget of {model.Store.BudgetBytes:N0} bytes is too small to hold all {sequences.Count} sequences at "
                    + "once; raise --kv-budget or run them one by one.", model.Store.BudgetBytes + 1, model.Store.BudgetBytes);
            }
            ReadOnlySpan<int> tokens = CollectionsMarshal.AsSpan(sequence.Tokens).Slice(start, rows);
            batch.Add(tokens, start, wanted: start + rows == sequence.Tokens.Count ? 1 : 0, sequence.Kv.Slide);
            scheduled.Add((sequence, start, rows));
        }
        if (scheduled.Count == 0)
        {
            return false;
        }

        // After all reservations of the step: making room for one sequence may move another's pages.
        for (int row = 0; row < scheduled.Count; row++)
        {
            model.WriteTables(row, scheduled[row].Sequence.Kv);
        }
        model.CopyPages();
        batch.Upload();
        Tensor logits = model.Forward(mode);
        int[] next = Choose(logits);
        int wanted = 0;
        foreach ((Sequence sequence, int start, int count) in scheduled)
        {
            model.Store.Advance(sequence.Kv, CollectionsMarshal.AsSpan(sequence.Tokens).Slice(start, count));
            if (start + count < sequence.Tokens.Count)
            {
                continue;
            }
            if (sequence.Logits is null)
            {
                sequence.Logits = new float[model.Config.Vocabulary];
                model.Backend.Read(MemoryMarshal.AsBytes(sequence.Logits.AsSpan()), logits.Slice(wanted, 1));
            }
            sequence.Tokens.Add(next[wanted++]);
        }
        return true;
    }

    int RowsFor(Sequence sequence)
    {
        int pending = sequence.Kv.BeforeSliding(sequence.Tokens.Count - sequence.Kv.Length);
        return mode.Kind switch
        {
            PrefillKind.Sequential => 1,
            PrefillKind.Iterative when model.Sharing.IsCyclic =>
                sequence.Prompt.Length <= mode.Passes ? 1 : WholePrompt(sequence, pending),
            _ => Math.Min(pending, model.ChunkTokens),
        };
    }

    int WholePrompt(Sequence sequence, int pending)
    {
        if (pending > batch.MaxRows)
        {
            throw new InvalidRequestException(
                $"Iterative prefill runs a prompt in one piece: {pending} tokens were given, a step takes {batch.MaxRows}.");
        }
        // Not begun in this step if the others leave too little room: a piece is never cut.
        return sequence.Kv.Length > 0 || pending <= batch.Room ? pending : 0;
    }

    int[] Choose(in Tensor logits)
    {
        int[] next = new int[logits.Rows];
        if (logits.Rows > 0)
        {
            model.Backend.Sample(nextTokens.Range(0, logits.Rows), logits, greedyRows.Top(logits.Rows), noHistory);
            model.Backend.Read(MemoryMarshal.AsBytes(next.AsSpan()), nextTokens.Range(0, logits.Rows));
        }
        return next;
    }
}
