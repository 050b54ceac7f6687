namespace KvCuda.Model;

/// <summary>
/// How many prompt tokens run together through a model whose layers look upward. A chunk of c tokens that needs p passes
/// costs p passes over the cyclic block instead of c steps over everything; the length follows what is measured, down to
/// token by token where chunks do not pay.
/// </summary>
internal sealed class ChunkLength(int longest)
{
    const int Shortest = 4;

    int stubborn;

    /// <summary>Tokens of the next chunk.</summary>
    public int Tokens { get; private set; } = Math.Min(longest, 32);

    /// <summary>Learns from a chunk of <paramref name="tokens"/> tokens that needed <paramref name="passes"/> passes.</summary>
    public void Observe(int tokens, int passes)
    {
        if (tokens < 2 || tokens < Tokens / 2)
        {
            return; // the end of a prompt says little
        }
        if (4 * passes > 3 * tokens)
        {
            // Nearly a pass per token: nothing is gained over running them one by one.
            stubborn++;
            Tokens = Tokens > Shortest ? Tokens / 2 : stubborn > 3 ? 1 : Tokens;
        }
        else
        {
            stubborn = 0;
            Tokens = 4 * passes < tokens ? Math.Min(longest, 2 * Tokens) : Tokens;
        }
    }
}
