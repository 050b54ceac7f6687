// A tokenizer that puts words in a model's mouth: what it says is what a test wants it to have said.
using System.Buffers;
using KvCuda.Text;

namespace KvCuda.Tests.Extensions;

/// <summary>
/// Encodes a text's characters as ids, and decodes whatever the model generates as the answer that <paramref name="answer"/> gives to the latest prompt, three
/// characters a token. One request at a time.
/// </summary>
sealed class ScriptedTokenizer(Func<string, string> answer) : Tokenizer
{
    string latest = "";
    int promptTokens;

    public override IReadOnlyList<int> EncodeToIds(string text, SpecialTokens specialTokens)
    {
        (latest, promptTokens) = (text, Math.Min(text.Length, 150));
        return [.. text[^promptTokens..].Select(c => 1 + (c % 1000))];
    }

    public override StreamingDecoder CreateStreamingDecoder(bool skipSpecialTokens = true) => new Script(answer(latest), Math.Min(32, promptTokens));

    protected override EncodeResults<EncodedToken> EncodeToTokens(string? text, ReadOnlySpan<char> textSpan, EncodeSettings settings) =>
        new() { Tokens = [.. EncodeToIds(textSpan.ToString(), SpecialTokens.None).Select(id => new EncodedToken(id, "", 0..0))], CharsConsumed = textSpan.Length };

    public override OperationStatus Decode(IEnumerable<int> ids, Span<char> destination, out int idsConsumed, out int charsWritten)
    {
        (idsConsumed, charsWritten) = (ids.Count(), 0);
        return OperationStatus.Done;
    }

    sealed class Script(string said, int promptTail) : StreamingDecoder
    {
        int seen, at;

        public override string Append(int id)
        {
            if (seen++ < promptTail)
            {
                return "";
            }
            int end = Math.Min(said.Length, at + 3);
            string piece = said[at..end];
            at = end;
            return piece;
        }

        public override string Flush() => "";
    }
}
