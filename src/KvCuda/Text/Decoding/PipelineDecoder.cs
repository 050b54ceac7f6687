using System.Buffers;
using System.Text;
using KvCuda.Text.Pipeline;

namespace KvCuda.Text.Decoding;

/// <summary>Streaming through the decoder that the tokenizer file describes.</summary>
sealed class PipelineDecoder : StreamingDecoder
{
    readonly HuggingFaceTokenizer tokenizer;
    readonly bool skipSpecialTokens;
    readonly DecoderStage first;
    readonly TextEnd end = new();
    readonly TextBudget budget = new(0, "The decoders of tokenizer.json");

    public PipelineDecoder(HuggingFaceTokenizer tokenizer, IEnumerable<DecoderStage> stages, bool skipSpecialTokens)
    {
        this.tokenizer = tokenizer;
        this.skipSpecialTokens = skipSpecialTokens;
        first = DecoderStage.Chain([.. stages, end], budget);
    }

    /// <summary>Takes an id without taking text out.</summary>
    public void Feed(int id)
    {
        if (!tokenizer.TryGetSpelling(id, out ReadOnlySpan<byte> spelling)
            || (skipSpecialTokens && tokenizer.IsSpecial(id)))
        {
            return;
        }

        budget.Earn(spelling.Length);
        char[]? rented = spelling.Length > 256 ? ArrayPool<char>.Shared.Rent(spelling.Length) : null;
        Span<char> token = rented ?? stackalloc char[256];
        first.Add(token[..Encoding.UTF8.GetChars(spelling, token)], ends: true);
        if (rented is not null)
        {
            ArrayPool<char>.Shared.Return(rented);
        }
    }

    public override string Append(int id)
    {
        Feed(id);
        return end.Take();
    }

    public override string Flush()
    {
        first.Finish();
        return end.Take();
    }
}
