using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using KvCuda.Tensors;

namespace KvCuda.Backends.Cpu;

/// <summary>The next token of a row: <see cref="SampleRow"/> states the steps and their order.</summary>
internal static class SampleKernel
{
    /// <summary>Chooses a token; penalties change <paramref name="logits"/> in place.</summary>
    /// <param name="logits">(vocabulary)</param>
    /// <param name="parameters">how to choose</param>
    /// <param name="history">the distinct tokens this row has seen</param>
    public static int Choose(Span<float> logits, in SampleRow parameters, ReadOnlySpan<int> history)
    {
        if (parameters.RepetitionPenalty != 1)
        {
            foreach (int token in history)
            {
                logits[token] = logits[token] > 0
                    ? logits[token] / parameters.RepetitionPenalty
                    : logits[token] * parameters.RepetitionPenalty;
            }
        }
        return parameters.Temperature > 0 ? Draw(logits, parameters) : Greedy(logits);
    }

    // The lowest id among the largest logits. NaN never wins; a row of nothing but NaN gives 0.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static int Greedy(ReadOnlySpan<float> logits)
    {
        int best = 0;
        float largest = float.NegativeInfinity;
        for (int token = 0; token < logits.Length; token++)
        {
            if (logits[token] > largest)
            {
                largest = logits[token];
                best = token;
            }
        }
        return best;
    }

    static int Draw(ReadOnlySpan<float> logits, in SampleRow parameters)
    {
        int count = logits.Length;
        using Scratch memory = new(2 * count);
        Span<float> weights = memory.Span[..count];
        Span<int> order = System.Runtime.InteropServices.MemoryMarshal.Cast<float, int>(memory.Span[count..]);
        float largest = TensorPrimitives.Max(logits);
        for (int token = 0; token < count; token++)
        {
            // Sorted ascending by the negated weight: likeliest first, and a stable key keeps lower ids first on ties.
            weights[token] = -MathF.Exp((logits[token] - largest) / parameters.Temperature);
            order[token] = token;
        }
        SortByWeight(weights, order);

        int kept = parameters.TopK > 0 ? Math.Min(parameters.TopK, count) : count;
        kept = ShortestRun(weights[..kept], parameters.TopP);
        float least = parameters.MinP * weights[0];
        while (kept > 1 && weights[kept - 1] > least)
        {
            kept--;
        }

        float sum = 0;
        foreach (float weight in weights[..kept])
        {
            sum -= weight;
        }
        float threshold = Philox.Uniform(parameters.SeedLow, parameters.SeedHigh, (uint)parameters.Step) * sum;
        float running = 0;
        for (int place = 0; place < kept; place++)
        {
            running -= weights[place];
            if (running > threshold)
            {
                return order[place];
            }
        }
        return order[kept - 1];
    }

    static void SortByWeight(Span<float> weights, Span<int> order)
    {
        weights.Sort(order);
        // Span.Sort is not stable; runs of equal weights are put back in order of id.
        for (int start = 0; start < weights.Length;)
        {
            int end = start + 1;
            while (end < weights.Length && weights[end] == weights[start])
            {
                end++;
            }
            if (end - start > 1)
            {
                order[start..end].Sort();
            }
            start = end;
        }
    }

    // How many of the (negated, sorted) weights reach the share topP of their sum.
    static int ShortestRun(ReadOnlySpan<float> weights, float topP)
    {
        if (topP >= 1)
        {
            return weights.Length;
        }
        float sum = 0;
        foreach (float weight in weights)
        {
            sum -= weight;
        }
        float running = 0;
        for (int place = 0; place < weights.Length; place++)
        {
            running -= weights[place];
            if (running >= topP * sum)
            {
                return place + 1;
            }
        }
        return weights.Length;
    }
}
