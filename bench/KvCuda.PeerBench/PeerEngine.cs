using System.Diagnostics;
using System.Numerics.Tensors;

namespace KvCuda.PeerBench;

/// <summary>
/// llama.cpp as its own programs run it: default parameters (steps of 512 tokens, f16 keys and values), a thread pool per context,
/// the next token by an argmax over the logits. A context per measurement, as big as it needs.
/// </summary>
internal sealed unsafe class PeerEngine : IContender
{
    readonly LlamaCpp llama;
    readonly string path;
    readonly int threads, vocabulary, steps;
    readonly nint model;
    nint shortContext, longContext, batchContext;
    int longTokens;

    /// <param name="folder">its shared objects</param>
    /// <param name="path">a GGUF file</param>
    /// <param name="threads">of each context</param>
    /// <param name="context">tokens of the context that prompts run in</param>
    public PeerEngine(string folder, string path, int threads, int context)
    {
        (this.path, this.threads, steps) = (path, threads, 256);
        llama = LlamaCpp.Open(folder);
        model = llama.LoadModel(path);
        vocabulary = llama.Vocabulary(model);
        shortContext = llama.NewContext(model, context, 1, threads);
    }

    public string Describe() => llama.Describe();

    public (double Prefill, double Decode) Generate(int[] prompt, int count)
    {
        llama.Forget(shortContext, 0, 0);
        long start = Stopwatch.GetTimestamp();
        int next = Run(shortContext, prompt, 0);
        double prefill = Stopwatch.GetElapsedTime(start).TotalSeconds;
        start = Stopwatch.GetTimestamp();
        Steps(shortContext, prompt.Length, next, count);
        return (prefill, Stopwatch.GetElapsedTime(start).TotalSeconds);
    }

    public double DecodeAt(int context, int count)
    {
        if (longTokens != context)
        {
            if (longContext != 0)
            {
                llama.Free(longContext);
            }
            longContext = llama.NewContext(model, context + steps, 1, threads);
            longTokens = context;
            int[] prompt = Prompts.Random(context, context, vocabulary);
            // Filling a long context takes its time; what it left is kept beside the model.
            string state = $"{path}.{context}.state";
            if (!llama.TryRestore(longContext, state, context))
            {
                llama.Forget(longContext, 0, 0);
                for (int from = 0; from < context; from += 512)
                {
                    Run(longContext, prompt.AsSpan(from, Math.Min(512, context - from)), from);
                }
                llama.Save(longContext, state, prompt);
            }
        }
        llama.Forget(longContext, 0, context);
        Steps(longContext, context, 1, 2);
        llama.Forget(longContext, 0, context);
        long start = Stopwatch.GetTimestamp();
        Steps(longContext, context, 1, count);
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    public double DecodeTogether(int sequences, int prompt, int count)
    {
        if (batchContext == 0)
        {
            // The context is divided among the sequences, in multiples of 256.
            batchContext = llama.NewContext(model, sequences * ((prompt + steps + 255) / 256 * 256), sequences, threads);
        }
        int* next = stackalloc int[sequences];
        for (int s = 0; s < sequences; s++)
        {
            llama.Forget(batchContext, s, 0);
            next[s] = Run(batchContext, Prompts.Random(s, prompt, vocabulary), 0, s);
        }
        StepTogether(next, sequences, prompt);
        long start = Stopwatch.GetTimestamp();
        for (int step = 1; step <= count; step++)
        {
            StepTogether(next, sequences, prompt + step);
        }
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    public float[] Logits(int[] prompt)
    {
        llama.Forget(shortContext, 0, 0);
        Run(shortContext, prompt, 0);
        return new Span<float>(llama.Logits(shortContext, -1), vocabulary).ToArray();
    }

    public (double Step, double Streamed)? Allocations() => null;

    // The process ends after it.
    public void Dispose() { }

    void Steps(nint context, int position, int next, int count)
    {
        for (int step = 0; step < count; step++)
        {
            next = Run(context, [next], position + step);
        }
    }

    // The greedy token after the rows.
    int Run(nint context, ReadOnlySpan<int> tokens, int position, int sequence = 0)
    {
        int count = tokens.Length;
        int* positions = stackalloc int[count], counts = stackalloc int[count];
        int** sequences = stackalloc int*[count];
        sbyte* wanted = stackalloc sbyte[count];
        for (int i = 0; i < count; i++)
        {
            positions[i] = position + i;
            counts[i] = 1;
            sequences[i] = &sequence;
            wanted[i] = (sbyte)(i == count - 1 ? 1 : 0);
        }
        fixed (int* ids = tokens)
        {
            llama.Decode(context, new()
            {
                Count = count, Tokens = ids, Positions = positions, SequenceCounts = counts, Sequences = sequences, Wanted = wanted,
            });
        }
        return Greedy(context, count - 1);
    }

    void StepTogether(int* next, int count, int position)
    {
        int* positions = stackalloc int[count], counts = stackalloc int[count], ids = stackalloc int[count];
        int** sequences = stackalloc int*[count];
        sbyte* wanted = stackalloc sbyte[count];
        for (int i = 0; i < count; i++)
        {
            positions[i] = position;
            counts[i] = 1;
            ids[i] = i;
            sequences[i] = ids + i;
            wanted[i] = 1;
        }
        llama.Decode(batchContext, new()
        {
            Count = count, Tokens = next, Positions = positions, SequenceCounts = counts, Sequences = sequences, Wanted = wanted,
        });
        for (int i = 0; i < count; i++)
        {
            next[i] = Greedy(batchContext, i);
        }
    }

    int Greedy(nint context, int row) =>
        TensorPrimitives.IndexOfMax(new ReadOnlySpan<float>(llama.Logits(context, row), vocabulary));
}
