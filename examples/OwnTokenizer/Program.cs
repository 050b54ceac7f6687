// A tokenizer of your own: two methods. This one gives every byte of the text the id of the byte.
// The demo model was not trained with it, so the text is nonsense; what matters is who calls what.
// Run: dotnet run --project examples/OwnTokenizer -- weights/demo
using System.Buffers;
using System.Text;
using KvCuda.Engine;
using KvCuda.Text;

await using var engine = await KvEngine.LoadAsync(args.Length > 0 ? args[0] : "weights/demo",
    new() { Tokenizer = new ByteTokenizer() });
GenerationResult result = await engine.CompleteAsync("Call me", new() { MaxTokens = 8 });
Console.WriteLine($"{result.PromptTokens} bytes in, {result.GeneratedTokens} tokens out");

/// <summary>Bytes as ids: 256 of them, no special tokens.</summary>
sealed class ByteTokenizer : Tokenizer
{
    protected override EncodeResults<EncodedToken> EncodeToTokens(string? text, ReadOnlySpan<char> textSpan, EncodeSettings settings)
    {
        List<EncodedToken> tokens = [];
        Span<byte> bytes = stackalloc byte[4];
        for (int i = 0; i < textSpan.Length && tokens.Count < settings.MaxTokenCount;)
        {
            Rune.DecodeFromUtf16(textSpan[i..], out Rune rune, out int chars);
            foreach (byte value in bytes[..rune.EncodeToUtf8(bytes)])
                tokens.Add(new(value, rune.ToString(), i..(i + chars)));
            i += chars;
        }
        return new() { Tokens = tokens, CharsConsumed = textSpan.Length };
    }

    // Ids above 255 are the model's, not ours: they have no text.
    public override OperationStatus Decode(IEnumerable<int> ids, Span<char> destination, out int idsConsumed, out int charsWritten)
    {
        byte[] bytes = [.. ids.Where(id => id is >= 0 and < 256).Select(id => (byte)id)];
        string text = Encoding.UTF8.GetString(bytes);
        idsConsumed = 0;
        charsWritten = 0;
        if (text.Length > destination.Length)
            return OperationStatus.DestinationTooSmall;
        text.CopyTo(destination);
        (idsConsumed, charsWritten) = (ids.Count(), text.Length);
        return OperationStatus.Done;
    }
}
