// What the engine counts as it works: steps, tokens as they are made, ends.
using System.Diagnostics;

namespace KvCuda.Engine;

/// <summary>One step that is done.</summary>
/// <param name="duration">of all of it</param>
/// <param name="rows">tokens that were computed, of prompts and of answers</param>
/// <param name="promptTokens">of those, tokens of prompts</param>
/// <param name="generatedTokens">tokens that were chosen</param>
/// <param name="gaps">stopwatch ticks between the tokens chosen now and those before them, where an answer had one before</param>
public readonly ref struct EngineStep(TimeSpan duration, int rows, int promptTokens, int generatedTokens, ReadOnlySpan<long> gaps)
{
    /// <summary>Of all of it: choosing, computing, telling.</summary>
    public TimeSpan Duration { get; } = duration;

    /// <summary>Tokens that were computed, of prompts and of answers.</summary>
    public int Rows { get; } = rows;

    /// <summary>Of those, tokens of prompts.</summary>
    public int PromptTokens { get; } = promptTokens;

    /// <summary>Tokens that were chosen.</summary>
    public int GeneratedTokens { get; } = generatedTokens;

    /// <summary>Ticks of <see cref="Stopwatch"/> between the tokens chosen now and those before them, where an answer had one before.</summary>
    public ReadOnlySpan<long> Gaps { get; } = gaps;
}

/// <summary>Is told of a step, on the engine's thread: it must be quick, and must not throw.</summary>
public delegate void EngineStepObserver(in EngineStep step);

/// <summary>Running sums of an engine; its thread is the only one that touches them.</summary>
internal sealed class EngineMeter
{
    readonly long[] finished = new long[4];
    long[] gaps = new long[64];
    int gapCount, rows, promptRows, chosen;
    long start;

    public long Steps { get; private set; }

    public long PromptTokens { get; private set; }

    public long GeneratedTokens { get; private set; }

    /// <summary>Seconds of steps that went to prompts: a step's time by its rows.</summary>
    public double PromptSeconds { get; private set; }

    /// <summary>Per <see cref="FinishReason"/>.</summary>
    public IReadOnlyList<long> Finished => finished;

    public void Begin()
    {
        start = Stopwatch.GetTimestamp();
        gapCount = rows = promptRows = chosen = 0;
    }

    /// <summary>Rows of a request are about to run.</summary>
    /// <param name="request">whose</param>
    /// <param name="count">how many</param>
    public void Rows(Request request, int count)
    {
        rows += count;
        promptRows += count == 1 && request.Tokens.Count > request.PromptCount ? 0 : count;
    }

    /// <summary>A token was chosen for a request.</summary>
    public void Chosen(Request request)
    {
        long now = Stopwatch.GetTimestamp();
        chosen++;
        if (request.LastTokenAt != 0)
        {
            if (gapCount == gaps.Length)
            {
                Array.Resize(ref gaps, 2 * gapCount);
            }
            gaps[gapCount++] = now - request.LastTokenAt;
        }
        request.LastTokenAt = now;
    }

    public void Finish(FinishReason reason) => finished[(int)reason]++;

    /// <summary>The step is done.</summary>
    public void End(EngineStepObserver? observer)
    {
        TimeSpan duration = Stopwatch.GetElapsedTime(start);
        Steps++;
        PromptTokens += promptRows;
        GeneratedTokens += chosen;
        PromptSeconds += rows == 0 ? 0 : duration.TotalSeconds * promptRows / rows;
        observer?.Invoke(new(duration, rows, promptRows, chosen, gaps.AsSpan(0, gapCount)));
    }
}
