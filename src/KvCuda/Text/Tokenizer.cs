using System.Buffers;
using System.Runtime.InteropServices;

namespace KvCuda.Text;

/// <summary>
/// Text to token ids and back. <see cref="Load"/> reads the tokenizer of a Hugging Face model folder; a tokenizer of one's
/// own is a class derived from this one.
/// </summary>
/// <remarks>
/// <para>In use:</para>
/// <code>
/// HuggingFaceTokenizer tokenizer = Tokenizer.Load("weights/demo");
/// IReadOnlyList&lt;int&gt; ids = tokenizer.EncodeToIds("Call me");           // with what the file adds (a BOS, or nothing)
/// ids = tokenizer.EncodeToIds(rendered, SpecialTokens.Parse);           // a rendered chat template: nothing is added
/// ids = tokenizer.EncodeToIds(untrusted, SpecialTokens.None);           // no text becomes a special token
/// string text = tokenizer.Decode(ids);                                  // special tokens are left out
/// StreamingDecoder stream = tokenizer.CreateStreamingDecoder();         // one per request
/// foreach (int id in ids) Console.Write(stream.Append(id));
/// Console.Write(stream.Flush());
/// </code>
/// <para>
/// The members are named and shaped as those of <c>Microsoft.ML.Tokenizers.Tokenizer</c>, so that an adapter around one of
/// those is a class with one line per member: override <see cref="EncodeToTokens(string?, ReadOnlySpan{char}, EncodeSettings)"/>
/// and <see cref="Decode(IEnumerable{int}, Span{char}, out int, out int)"/>, and, if known, <see cref="BeginningOfSentenceId"/>
/// and <see cref="EndOfSequenceIds"/>. Every member is safe for concurrent use.
/// </para>
/// </remarks>
public abstract class Tokenizer
{
    /// <summary>
    /// Reads <c>tokenizer.json</c> of a model folder, and from <c>tokenizer_config.json</c>, <c>generation_config.json</c> and
    /// <c>config.json</c>, where they exist, which tokens begin and end a sequence.
    /// </summary>
    /// <exception cref="ModelFormatException">A file is missing or malformed.</exception>
    /// <exception cref="UnsupportedModelException">The file names a step that KvCuda does not implement.</exception>
    public static HuggingFaceTokenizer Load(string modelFolder) => HuggingFaceTokenizer.LoadFolder(modelFolder);

    /// <summary>The id of the token that begins a sequence, or null if there is none.</summary>
    public virtual int? BeginningOfSentenceId => null;

    /// <summary>The ids that end a generated sequence: the model's own choice; may be empty.</summary>
    public virtual IReadOnlyList<int> EndOfSequenceIds => [];

    /// <summary>The id of a special token by its name (<c>&lt;|im_end|&gt;</c>), or null if there is none of that name.</summary>
    public virtual int? SpecialTokenToId(string token) => null;

    /// <summary>
    /// What an id adds in the middle of a text, as UTF-8: also of a token that is a part of a character, and of a special token, whose name
    /// it is. Empty for ids that the vocabulary lacks.
    /// </summary>
    /// <remarks>Unless overridden, parts of characters are the bytes of U+FFFD, and special tokens are empty.</remarks>
    public virtual byte[] TokenBytes(int id)
    {
        // Some decoders treat a text's first token in a way of their own (a space that is not there): the second time it is itself.
        string once = Decode([id]), twice = Decode([id, id]);
        return System.Text.Encoding.UTF8.GetBytes(
            twice.Length > once.Length && twice.StartsWith(once, StringComparison.Ordinal) ? twice[once.Length..] : once);
    }

    /// <summary>The ids of <paramref name="text"/>.</summary>
    public IReadOnlyList<int> EncodeToIds(string text, bool considerPreTokenization = true, bool considerNormalization = true)
    {
        ArgumentNullException.ThrowIfNull(text);
        return EncodeToIds(text, text, Settings(considerPreTokenization, considerNormalization)).Tokens;
    }

    /// <summary>The ids of <paramref name="text"/>.</summary>
    public IReadOnlyList<int> EncodeToIds(
        ReadOnlySpan<char> text, bool considerPreTokenization = true, bool considerNormalization = true) =>
        EncodeToIds(null, text, Settings(considerPreTokenization, considerNormalization)).Tokens;

    /// <summary>The first <paramref name="maxTokenCount"/> ids of <paramref name="text"/>, and how much of it they cover.</summary>
    public IReadOnlyList<int> EncodeToIds(
        string text, int maxTokenCount, out string? normalizedText, out int charsConsumed,
        bool considerPreTokenization = true, bool considerNormalization = true)
    {
        ArgumentNullException.ThrowIfNull(text);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(maxTokenCount);
        EncodeResults<int> results =
            EncodeToIds(text, text, Settings(considerPreTokenization, considerNormalization, maxTokenCount));
        normalizedText = results.NormalizedText;
        charsConsumed = results.CharsConsumed;
        return results.Tokens;
    }

    /// <summary>The first <paramref name="maxTokenCount"/> ids of <paramref name="text"/>, and how much of it they cover.</summary>
    public IReadOnlyList<int> EncodeToIds(
        ReadOnlySpan<char> text, int maxTokenCount, out string? normalizedText, out int charsConsumed,
        bool considerPreTokenization = true, bool considerNormalization = true)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(maxTokenCount);
        EncodeResults<int> results =
            EncodeToIds(null, text, Settings(considerPreTokenization, considerNormalization, maxTokenCount));
        normalizedText = results.NormalizedText;
        charsConsumed = results.CharsConsumed;
        return results.Tokens;
    }

    /// <summary>The ids of <paramref name="text"/>; what becomes of special tokens is said by <paramref name="specialTokens"/>.</summary>
    /// <remarks>Here a tokenizer that does not override it knows no special tokens, and encodes plainly.</remarks>
    public virtual IReadOnlyList<int> EncodeToIds(string text, SpecialTokens specialTokens) => EncodeToIds(text);

    /// <summary>The tokens of <paramref name="text"/> with their spelling and place.</summary>
    public IReadOnlyList<EncodedToken> EncodeToTokens(
        string text, out string? normalizedText, bool considerPreTokenization = true, bool considerNormalization = true)
    {
        ArgumentNullException.ThrowIfNull(text);
        EncodeResults<EncodedToken> results =
            EncodeToTokens(text, text, Settings(considerPreTokenization, considerNormalization));
        normalizedText = results.NormalizedText;
        return results.Tokens;
    }

    /// <summary>The tokens of <paramref name="text"/> with their spelling and place.</summary>
    public IReadOnlyList<EncodedToken> EncodeToTokens(
        ReadOnlySpan<char> text, out string? normalizedText,
        bool considerPreTokenization = true, bool considerNormalization = true)
    {
        EncodeResults<EncodedToken> results =
            EncodeToTokens(null, text, Settings(considerPreTokenization, considerNormalization));
        normalizedText = results.NormalizedText;
        return results.Tokens;
    }

    /// <summary>How many tokens <paramref name="text"/> has.</summary>
    public int CountTokens(string text, bool considerPreTokenization = true, bool considerNormalization = true)
    {
        ArgumentNullException.ThrowIfNull(text);
        return CountTokens(text, text, Settings(considerPreTokenization, considerNormalization));
    }

    /// <summary>How many tokens <paramref name="text"/> has.</summary>
    public int CountTokens(
        ReadOnlySpan<char> text, bool considerPreTokenization = true, bool considerNormalization = true) =>
        CountTokens(null, text, Settings(considerPreTokenization, considerNormalization));

    /// <summary>Where in the normalised text its first <paramref name="maxTokenCount"/> tokens end (a UTF-16 index).</summary>
    public int GetIndexByTokenCount(
        string text, int maxTokenCount, out string? normalizedText, out int tokenCount,
        bool considerPreTokenization = true, bool considerNormalization = true)
    {
        ArgumentNullException.ThrowIfNull(text);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(maxTokenCount);
        return GetIndexByTokenCount(text, text,
            Settings(considerPreTokenization, considerNormalization, maxTokenCount),
            fromEnd: false, out normalizedText, out tokenCount);
    }

    /// <summary>Where in the normalised text its last <paramref name="maxTokenCount"/> tokens start (a UTF-16 index).</summary>
    public int GetIndexByTokenCountFromEnd(
        string text, int maxTokenCount, out string? normalizedText, out int tokenCount,
        bool considerPreTokenization = true, bool considerNormalization = true)
    {
        ArgumentNullException.ThrowIfNull(text);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(maxTokenCount);
        return GetIndexByTokenCount(text, text,
            Settings(considerPreTokenization, considerNormalization, maxTokenCount),
            fromEnd: true, out normalizedText, out tokenCount);
    }

    /// <summary>The text of <paramref name="ids"/>, without special tokens. Ids the vocabulary lacks are left out.</summary>
    public virtual string Decode(IEnumerable<int> ids)
    {
        ArgumentNullException.ThrowIfNull(ids);
        int[] all = [.. ids];
        char[] buffer = ArrayPool<char>.Shared.Rent(Math.Max(256, all.Length * 8));
        try
        {
            while (true)
            {
                OperationStatus status = Decode(all, buffer, out _, out int written);
                if (status == OperationStatus.Done)
                {
                    return new string(buffer, 0, written);
                }

                if (status != OperationStatus.DestinationTooSmall)
                {
                    throw new InvalidRequestException($"{GetType().Name} cannot decode these {all.Length} ids ({status}).");
                }

                char[] larger = ArrayPool<char>.Shared.Rent(checked(buffer.Length * 2));
                ArrayPool<char>.Shared.Return(buffer);
                buffer = larger;
            }
        }
        finally
        {
            ArrayPool<char>.Shared.Return(buffer);
        }
    }

    /// <summary>
    /// Writes the text of <paramref name="ids"/> to <paramref name="destination"/>;
    /// <see cref="OperationStatus.DestinationTooSmall"/> if it does not fit.
    /// </summary>
    public abstract OperationStatus Decode(
        IEnumerable<int> ids, Span<char> destination, out int idsConsumed, out int charsWritten);

    /// <summary>
    /// A decoder that is fed one id at a time. All it returned, joined, equals <see cref="Decode(IEnumerable{int})"/> of all ids.
    /// </summary>
    /// <param name="skipSpecialTokens">Leave special tokens out.</param>
    /// <remarks>
    /// Unless overridden, it decodes a window of the latest ids again for each one, and holds back what ends in U+FFFD:
    /// right for every tokenizer whose text grows with its ids.
    /// </remarks>
    public virtual StreamingDecoder CreateStreamingDecoder(bool skipSpecialTokens = true) => new WindowDecoder(this);

    /// <summary>Encodes; the one member an encoder must have.</summary>
    /// <param name="text">The text, or null if only the span was given.</param>
    /// <param name="textSpan">The text.</param>
    /// <param name="settings">Which steps to run, and how far to go.</param>
    protected abstract EncodeResults<EncodedToken> EncodeToTokens(
        string? text, ReadOnlySpan<char> textSpan, EncodeSettings settings);

    /// <summary>Encodes to ids; override it where ids alone are cheaper.</summary>
    protected virtual EncodeResults<int> EncodeToIds(string? text, ReadOnlySpan<char> textSpan, EncodeSettings settings)
    {
        EncodeResults<EncodedToken> results = EncodeToTokens(text, textSpan, settings);
        var ids = new int[results.Tokens.Count];
        for (int i = 0; i < ids.Length; i++)
        {
            ids[i] = results.Tokens[i].Id;
        }

        return new EncodeResults<int>
        {
            Tokens = ids, NormalizedText = results.NormalizedText, CharsConsumed = results.CharsConsumed,
        };
    }

    /// <summary>Counts tokens; override it where counting is cheaper.</summary>
    protected virtual int CountTokens(string? text, ReadOnlySpan<char> textSpan, EncodeSettings settings) =>
        EncodeToIds(text, textSpan, settings).Tokens.Count;

    /// <summary>Finds where a number of tokens ends, or begins counted from the end; override it where that is cheaper.</summary>
    protected virtual int GetIndexByTokenCount(
        string? text, ReadOnlySpan<char> textSpan, EncodeSettings settings, bool fromEnd,
        out string? normalizedText, out int tokenCount)
    {
        int wanted = settings.MaxTokenCount;
        settings.MaxTokenCount = fromEnd ? int.MaxValue : wanted;
        EncodeResults<EncodedToken> results = EncodeToTokens(text, textSpan, settings);
        normalizedText = results.NormalizedText;
        int length = (normalizedText ?? text)?.Length ?? textSpan.Length;
        tokenCount = Math.Min(wanted, results.Tokens.Count);
        if (!fromEnd)
        {
            return tokenCount == 0 ? 0 : results.CharsConsumed;
        }

        return tokenCount == 0 ? length : results.Tokens[^tokenCount].Offset.Start.GetOffset(length);
    }

    static EncodeSettings Settings(bool preTokenize, bool normalize, int maxTokenCount = int.MaxValue) => new()
    {
        ConsiderPreTokenization = preTokenize, ConsiderNormalization = normalize, MaxTokenCount = maxTokenCount,
    };
}

/// <summary>What encoding does about special tokens.</summary>
[Flags]
public enum SpecialTokens
{
    /// <summary>Adds none, and no text becomes one: for text from people one does not trust.</summary>
    None = 0,

    /// <summary>Text that spells a special token becomes that token.</summary>
    Parse = 1,

    /// <summary>Adds what the tokenizer file says, such as a token that begins the sequence.</summary>
    Add = 2,

    /// <summary>Both: what the reference does unless told otherwise.</summary>
    ParseAndAdd = Parse | Add,
}
