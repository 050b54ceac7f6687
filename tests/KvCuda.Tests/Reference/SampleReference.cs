using KvCuda.Tensors;

namespace KvCuda.Tests.Reference;

/// <summary>Sample of IBackend, for one row: the sentence of <see cref="SampleRow"/>, step by step, by sorting.</summary>
static class SampleReference
{
    /// <summary>The chosen token, or -1.</summary>
    public static int Choose(float[] logits, in SampleRow row, ReadOnlySpan<int> history)
    {
        if (row.RepetitionPenalty != 1)
        {
            foreach (int token in history)
            {
                float x = logits[token];
                logits[token] = !float.IsFinite(x) ? x : Math.Clamp(x > 0 ? x / row.RepetitionPenalty : x * row.RepetitionPenalty,
                    -float.MaxValue, float.MaxValue);
            }
        }
        if (logits.Any(x => float.IsNaN(x) || float.IsPositiveInfinity(x)) || logits.All(float.IsNegativeInfinity))
        {
            return -1;
        }
        float[] copy = logits;
        int[] order = [.. Enumerable.Range(0, logits.Length).OrderByDescending(t => copy[t]).ThenBy(t => t)];
        if (row.Temperature == 0)
        {
            return order[0];
        }
        float largest = logits[order[0]], temperature = row.Temperature;
        long Of(int token) => Weight(copy[token], largest, temperature);

        int kept = row.TopK > 0 ? Math.Min(row.TopK, order.Length) : order.Length;
        if (row.TopP < 1)
        {
            long total = order.Take(kept).Sum(Of), bound = Math.Max(1, (long)((double)row.TopP * total)), running = 0;
            for (int place = 0; place < kept; place++)
            {
                running += Of(order[place]);
                if (running >= bound)
                {
                    kept = place + 1;
                }
            }
        }
        double least = row.MinP * (double)(1L << 38);
        int[] ids = [.. order.Take(kept).Where(token => Of(token) >= least).Order()];
        Int128 threshold = (Int128)(long)(Philox(row) * 16777216.0) * ids.Sum(Of) / 16777216, sum = 0;
        foreach (int token in ids)
        {
            sum += Of(token);
            if (sum > threshold)
            {
                return token;
            }
        }
        throw new InvalidOperationException("The running sum never exceeds a share of itself.");
    }

    /// <summary>exp((logit - largest) / temperature) in units of 2^-38, in f32 operations one after another.</summary>
    public static long Weight(float logit, float largest, float temperature)
    {
        float x = Math.Max((logit - largest) * Math.Min(1 / temperature, float.MaxValue), -28);
        float n = MathF.Round(x * 1.44269504f);
        float r = x - n * 0.693359375f + n * 2.12194440e-4f;
        float p = 1.9875691500e-4f * r + 1.3981999507e-3f;
        p = p * r + 8.3334519073e-3f;
        p = p * r + 4.1665795894e-2f;
        p = p * r + 1.6666665459e-1f;
        p = p * r + 5.0000001201e-1f;
        float e = p * (r * r) + r + 1;
        return (long)Math.Round(Math.ScaleB((double)e, (int)n + 38), MidpointRounding.ToEven);
    }

    /// <summary>The upper 24 bits of the first word of Philox4x32-10, over 2^24.</summary>
    public static double Philox(in SampleRow row)
    {
        uint[] c = [(uint)row.Step, 0, 0, 0];
        uint key0 = row.SeedLow, key1 = row.SeedHigh;
        for (int round = 0; round < 10; round++)
        {
            ulong a = 0xD2511F53UL * c[0], b = 0xCD9E8D57UL * c[2];
            c = [(uint)(b >> 32) ^ c[1] ^ key0, (uint)b, (uint)(a >> 32) ^ c[3] ^ key1, (uint)a];
            key0 += 0x9E3779B9;
            key1 += 0xBB67AE85;
        }
        return (c[0] >> 8) / 16777216.0;
    }
}
