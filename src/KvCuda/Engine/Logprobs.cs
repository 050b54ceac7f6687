using System.Numerics.Tensors;

namespace KvCuda.Engine;

/// <summary>log softmax of a row of logits: log p = logit - max - log Σ exp(logit - max).</summary>
internal static class Logprobs
{
    /// <param name="logits">(vocabulary), as the model gave them</param>
    /// <param name="token">the token that was chosen</param>
    /// <param name="alternatives">how many of the likeliest to report</param>
    public static TokenLogprob Of(ReadOnlySpan<float> logits, int token, int alternatives)
    {
        float largest = TensorPrimitives.Max(logits);
        double sum = 0;
        foreach (float logit in logits)
        {
            sum += Math.Exp(logit - largest);
        }
        float normaliser = largest + (float)Math.Log(sum);
        var top = new (int Token, float Logprob)[Math.Min(alternatives, logits.Length)];
        int count = 0;
        for (int id = 0; id < logits.Length; id++)
        {
            float logprob = logits[id] - normaliser;
            if (count < top.Length || (count > 0 && logprob > top[count - 1].Logprob))
            {
                count = Math.Min(count + 1, top.Length);
                int place = count - 1;
                for (; place > 0 && logprob > top[place - 1].Logprob; place--)
                {
                    top[place] = top[place - 1];
                }
                top[place] = (id, logprob);
            }
        }
        return new(token, logits[token] - normaliser, top);
    }
}
