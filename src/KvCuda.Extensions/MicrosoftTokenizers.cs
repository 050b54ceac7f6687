// Adapters between KvCuda's tokenizers and those of Microsoft.ML.Tokenizers, both ways.
using System.Buffers;
using KvCuda.Text;
using Ml = Microsoft.ML.Tokenizers;

namespace KvCuda.Extensions;

/// <summary>
/// KvCuda's tokenizers as <see cref="Ml.Tokenizer"/>, which gives .NET a reader of tokenizer.json, and any
/// <see cref="Ml.Tokenizer"/> as one of KvCuda's, for an engine to use.
/// </summary>
public static class MicrosoftTokenizers
{
    /// <summary>A tokenizer of KvCuda as one of Microsoft.ML.Tokenizers.</summary>
    /// <param name="tokenizer">what encodes and decodes; <see cref="Tokenizer.Load"/> reads a model folder's</param>
    /// <returns>
    /// It encodes with what the file adds (a begin token, or nothing) and leaves special tokens out of decoded text. A destination that is
    /// too small for the whole text takes none of it.
    /// </returns>
    /// <example>
    /// <code>
    /// Microsoft.ML.Tokenizers.Tokenizer tokenizer = Tokenizer.Load("models/SmolLM2-135M-Instruct").AsMicrosoftTokenizer();
    /// int tokens = tokenizer.CountTokens("How long is this?");
    /// </code>
    /// </example>
    public static Ml.Tokenizer AsMicrosoftTokenizer(this Tokenizer tokenizer)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        return tokenizer is FromMicrosoft adapter ? adapter.Inner : new ToMicrosoft(tokenizer);
    }

    /// <summary>A tokenizer of Microsoft.ML.Tokenizers as one of KvCuda's, for <see cref="Engine.KvEngineOptions.Tokenizer"/>.</summary>
    /// <param name="tokenizer">what encodes and decodes; safe for concurrent use, as Microsoft's are</param>
    /// <param name="endOfSequenceIds">
    /// ids that end a text, beside those that the model folder names; null: a SentencePiece tokenizer's own end token, else none
    /// </param>
    /// <param name="beginningOfSentenceId">the id that begins a text; null: a SentencePiece tokenizer's own, else none</param>
    /// <returns>
    /// Special tokens that the tokenizer was given are found in every text: of these tokenizers none can be asked to leave them text, so
    /// text from people one does not trust must be checked before. Ids that the tokenizer does not know are left out of decoded text.
    /// </returns>
    /// <example>
    /// <code>
    /// KvEngineOptions options = new() { Tokenizer = BpeTokenizer.Create(bpe).AsKvTokenizer(endOfSequenceIds: [2]) };
    /// </code>
    /// </example>
    public static Tokenizer AsKvTokenizer(
        this Ml.Tokenizer tokenizer, IEnumerable<int>? endOfSequenceIds = null, int? beginningOfSentenceId = null)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        return tokenizer is ToMicrosoft adapter && endOfSequenceIds is null && beginningOfSentenceId is null
            ? adapter.Inner : new FromMicrosoft(tokenizer, endOfSequenceIds, beginningOfSentenceId);
    }

    sealed class ToMicrosoft(Tokenizer inner) : Ml.Tokenizer
    {
        public Tokenizer Inner => inner;

        protected override Ml.EncodeResults<Ml.EncodedToken> EncodeToTokens(
            string? text, ReadOnlySpan<char> textSpan, Ml.EncodeSettings settings)
        {
            ReadOnlySpan<char> given = text ?? textSpan;
            IReadOnlyList<EncodedToken> tokens = inner.EncodeToTokens(
                given, out string? normalized, settings.ConsiderPreTokenization, settings.ConsiderNormalization);
            int length = normalized?.Length ?? given.Length;
            int count = Math.Min(tokens.Count, settings.MaxTokenCount);
            return new()
            {
                Tokens = tokens.Take(count).Select(token => new Ml.EncodedToken(token.Id, token.Value, token.Offset)).ToArray(),
                NormalizedText = normalized,
                CharsConsumed = count == tokens.Count ? length : count == 0 ? 0 : tokens[count - 1].Offset.End.GetOffset(length),
            };
        }

        protected override Ml.EncodeResults<int> EncodeToIds(string? text, ReadOnlySpan<char> textSpan, Ml.EncodeSettings settings)
        {
            if (settings.MaxTokenCount != int.MaxValue)
            {
                Ml.EncodeResults<Ml.EncodedToken> cut = EncodeToTokens(text, textSpan, settings);
                return new()
                {
                    Tokens = [.. cut.Tokens.Select(token => token.Id)], NormalizedText = cut.NormalizedText, CharsConsumed = cut.CharsConsumed,
                };
            }
            ReadOnlySpan<char> given = text ?? textSpan;
            return new()
            {
                Tokens = inner.EncodeToIds(given, settings.ConsiderPreTokenization, settings.ConsiderNormalization).ToArray(),
                CharsConsumed = given.Length,
            };
        }

        protected override int CountTokens(string? text, ReadOnlySpan<char> textSpan, Ml.EncodeSettings settings) => Math.Min(
            settings.MaxTokenCount, inner.CountTokens(text ?? textSpan, settings.ConsiderPreTokenization, settings.ConsiderNormalization));

        public override string Decode(IEnumerable<int> ids) => inner.Decode(ids);

        public override OperationStatus Decode(IEnumerable<int> ids, Span<char> destination, out int idsConsumed, out int charsWritten) =>
            inner.Decode(ids, destination, out idsConsumed, out charsWritten);
    }

    sealed class FromMicrosoft(Ml.Tokenizer inner, IEnumerable<int>? ends, int? beginning) : Tokenizer
    {
        public Ml.Tokenizer Inner => inner;

        public override int? BeginningOfSentenceId { get; } = beginning ?? inner switch
        {
            Ml.SentencePieceTokenizer { BeginningOfSentenceId: >= 0 } pieces => pieces.BeginningOfSentenceId,
            _ => null,
        };

        public override IReadOnlyList<int> EndOfSequenceIds { get; } = ends is not null ? [.. ends.Distinct()] : inner switch
        {
            Ml.SentencePieceTokenizer { EndOfSentenceId: >= 0 } pieces => [pieces.EndOfSentenceId],
            _ => [],
        };

        public override IReadOnlyList<int> EncodeToIds(string text, SpecialTokens specialTokens)
        {
            ArgumentNullException.ThrowIfNull(text);
            bool add = specialTokens.HasFlag(SpecialTokens.Add);
            return inner is Ml.SentencePieceTokenizer pieces
                ? pieces.EncodeToIds(text, add && pieces.AddBeginningOfSentence, add && pieces.AddEndOfSentence)
                : inner.EncodeToIds(text);
        }

        protected override EncodeResults<EncodedToken> EncodeToTokens(string? text, ReadOnlySpan<char> textSpan, EncodeSettings settings)
        {
            string given = text ?? textSpan.ToString();
            IReadOnlyList<Ml.EncodedToken> tokens = inner.EncodeToTokens(
                given, out string? normalized, settings.ConsiderPreTokenization, settings.ConsiderNormalization);
            int length = normalized?.Length ?? given.Length;
            int count = Math.Min(tokens.Count, settings.MaxTokenCount);
            return new()
            {
                Tokens = [.. tokens.Take(count).Select(token => new EncodedToken(token.Id, token.Value, token.Offset))],
                NormalizedText = normalized == given ? null : normalized,
                CharsConsumed = count == tokens.Count ? length : count == 0 ? 0 : tokens[count - 1].Offset.End.GetOffset(length),
            };
        }

        protected override EncodeResults<int> EncodeToIds(string? text, ReadOnlySpan<char> textSpan, EncodeSettings settings)
        {
            string given = text ?? textSpan.ToString();
            if (settings.MaxTokenCount != int.MaxValue)
            {
                return base.EncodeToIds(given, given, settings);
            }
            return new()
            {
                Tokens = inner.EncodeToIds(given, settings.ConsiderPreTokenization, settings.ConsiderNormalization), CharsConsumed = given.Length,
            };
        }

        public override string Decode(IEnumerable<int> ids) => inner.Decode(ids) ?? "";

        public override OperationStatus Decode(IEnumerable<int> ids, Span<char> destination, out int idsConsumed, out int charsWritten) =>
            inner.Decode(ids, destination, out idsConsumed, out charsWritten);
    }
}
