using System.Runtime.InteropServices;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Tensors;

namespace KvCuda.Engine;

/// <summary>
/// Logits after a prompt and the greedy tokens that follow, for any prefill mode, one sequence at a time or all in one
/// ragged batch: what exactness is checked with. Never stops at an end-of-sequence token.
/// </summary>
internal sealed class LogitsRun : IDisposable
{
    readonly LoadedModel model;
    readonly PrefillMode mode;
    readonly Pass pass;
    readonly Sampler sampler;

    /// <param name="model">loaded with room for the prompts that will run together</param>
    /// <param name="mode">how prompts run</param>
    public LogitsRun(LoadedModel model, PrefillMode mode)
    {
        (this.model, this.mode, pass) = (model, mode, model.Pass);
        sampler = new(model.Backend, pass.MaxSequences, model.Config.Vocabulary);
    }

    /// <summary>Gives back what choosing tokens needs on the backend.</summary>
    public void Dispose() => sampler.Dispose();

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
            new Admission(model).CheckPrompt(prompt, generated, streaming);
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
        pass.Clear();
        sampler.Clear();
        List<(Sequence Sequence, int Item, bool Wanted)> scheduled = [];
        foreach (Sequence sequence in sequences)
        {
            int rows = sequence.Generated >= Math.Max(greedy, 1) ? 0 : Math.Min(RowsFor(sequence), pass.Room);
            if (rows == 0)
            {
                continue;
            }
            int start = sequence.Kv.Length;
            bool wanted = start + rows == sequence.Tokens.Count;
            int item = pass.TryAdd(sequence.Kv, CollectionsMarshal.AsSpan(sequence.Tokens).Slice(start, rows), wanted ? 1 : 0);
            if (item < 0)
            {
                throw new KvBudgetException(
                    $"The key/value budget of {model.Store.BudgetBytes:N0} bytes is too small to hold all {sequences.Count} sequences at "
                    + "once; raise --kv-budget or run them one by one.", model.Store.BudgetBytes + 1, model.Store.BudgetBytes);
            }
            if (wanted)
            {
                sampler.Add(Sampler.Greedy);
            }
            scheduled.Add((sequence, item, wanted));
        }
        if (scheduled.Count == 0)
        {
            return false;
        }
        Tensor logits = pass.Run(mode);
        ReadOnlySpan<int> next = sampler.Choose(logits);
        if (next.Contains(SampleRow.NoToken))
        {
            throw new ModelOutputException(SampleRow.NoTokenMessage);
        }
        foreach ((Sequence sequence, int item, bool wanted) in scheduled)
        {
            pass.Accept(item);
            if (!wanted)
            {
                continue;
            }
            int row = pass.RowOf(item);
            if (sequence.Logits is null)
            {
                sequence.Logits = new float[model.Config.Vocabulary];
                model.Backend.Read(MemoryMarshal.AsBytes(sequence.Logits.AsSpan()), logits.Slice(row, 1));
            }
            sequence.Tokens.Add(next[row]);
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
            _ => Math.Min(pending, pass.ChunkTokens),
        };
    }

    int WholePrompt(Sequence sequence, int pending)
    {
        if (pending > pass.MaxRows)
        {
            throw new InvalidRequestException(
                $"Iterative prefill runs a prompt in one piece: {pending} tokens were given, a step takes {pass.MaxRows}.");
        }
        // Not begun in this step if the others leave too little room: a piece is never cut.
        return sequence.Kv.Length > 0 || pending <= pass.Room ? pending : 0;
    }
}
