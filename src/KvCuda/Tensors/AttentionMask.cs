namespace KvCuda.Tensors;

/// <summary>Which tokens a row at position p may see, and how its scores are scaled. Rows that slide: <see cref="StreamRows"/>.</summary>
/// <param name="Scale">multiplies the scores: 1/sqrt(headDim), or 1 for GPT-Neo</param>
/// <param name="Window">W &gt; 0: only the W latest tokens, the row's own included: positions above p - W. 0: all</param>
/// <param name="StrictlyEarlier">the row's own token is hidden: positions below p (layers that look upward)</param>
/// <param name="Cap">scaled scores are Cap * tanh(score / Cap) (Gemma 2); 0: as they are. Only where <c>IBackend.FamilyVerbs</c> are</param>
internal readonly record struct AttentionMask(float Scale, int Window = 0, bool StrictlyEarlier = false, float Cap = 0)
{
    /// <summary>Tokens per chunk of the reduction order; a multiple of every page size up to itself.</summary>
    public const int ChunkTokens = 128;
}
