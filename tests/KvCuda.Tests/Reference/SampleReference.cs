using KvCuda.Tensors;

namespace KvCuda.Tests.Reference;

/// <summary>Sample of IBackend, for one row: the steps of <see cref="SampleRow"/>, one after another, in double.</summary>
static class SampleReference
{
    /// <summary>The chosen token, and how far the draw was from choosing another (infinite for a greedy row).</summary>
    public static (int Token, double Margin) Choose(float[] logits, in SampleRow row, ReadOnlySpan<int> history)
    {
        foreach (int token in history)
        {
            logits[token] = logits[token] > 0 ? logits[token] / row.RepetitionPenalty : logits[token] * row.RepetitionPenalty;
        }
        int[] order = [.. Enumerable.Range(0, logits.Length).OrderByDescending(t => logits[t]).ThenBy(t => t)];
        if (row.Temperature == 0)
        {
            return (order[0], double.PositiveInfinity);
        }
        double temperature = row.Temperature, largest = logits[order[0]];
        double[] weights = [.. order.Select(t => Math.Exp((logits[t] - largest) / temperature))];

        int kept = row.TopK > 0 ? Math.Min(row.TopK, order.Length) : order.Length;
        double margin = double.PositiveInfinity;
        if (row.TopP < 1)
        {
            double bound = row.TopP * weights.Take(kept).Sum(), running = 0;
            for (int place = 0; place < kept; place++)
            {
                running += weights[place];
                margin = Math.Min(margin, Math.Abs(running - bound) / bound);
                if (running >= bound)
                {
                    kept = place + 1;
                }
            }
        }
        for (int place = 0; place < kept && row.MinP > 0; place++)
        {
            margin = Math.Min(margin, Math.Abs(weights[place] - row.MinP) / row.MinP);
        }
        while (kept > 1 && weights[kept - 1] < row.MinP)
        {
            kept--;
        }

        double sum = weights.Take(kept).Sum(), threshold = Philox(row) * sum, total = 0;
        int chosen = -1;
        for (int place = 0; place < kept; place++)
        {
            total += weights[place];
            margin = Math.Min(margin, Math.Abs(total - threshold) / sum);
            chosen = chosen < 0 && total > threshold ? place : chosen;
        }
        return (order[chosen < 0 ? kept - 1 : chosen], margin);
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
