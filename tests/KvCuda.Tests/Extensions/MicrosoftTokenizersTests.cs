// The adapters between KvCuda's tokenizers and Microsoft.ML.Tokenizers.
using System.Buffers;
using KvCuda.Engine;
using KvCuda.Extensions;
using KvCuda.Tests.Text;
using KvCuda.Text;
using Ml = Microsoft.ML.Tokenizers;

namespace KvCuda.Tests.Extensions;

public class MicrosoftTokenizersTests
{
    static readonly string[] Texts = ["", "Call me Ishmael.", "  two  spaces\n", "été 😀 𠀀漢字", new('a', 3000)];

    [Theory]
    [InlineData("llama2")]
    [InlineData("qwen3")]
    [InlineData("gpt2")]
    public void A_tokenizer_json_is_read_for_Microsofts_interface_with_the_same_ids_places_and_text(string family)
    {
        HuggingFaceTokenizer ours = HuggingFaceTokenizer.Parse(TextGolden.Family(family).Json, family);
        Ml.Tokenizer theirs = ours.AsMicrosoftTokenizer();
        foreach (string text in Texts)
        {
            IReadOnlyList<int> ids = ours.EncodeToIds(text, SpecialTokens.ParseAndAdd);
            Assert.Equal(ids, theirs.EncodeToIds(text));
            Assert.Equal(ids, theirs.EncodeToIds(text.AsSpan()));
            Assert.Equal(ids.Count, theirs.CountTokens(text));
            Assert.Equal(ours.Decode(ids), theirs.Decode(ids));
            IReadOnlyList<Ml.EncodedToken> tokens = theirs.EncodeToTokens(text, out string? normalized);
            Assert.Equal(ids, tokens.Select(token => token.Id));
            Assert.Equal(ours.EncodeToTokens(text, out _).Select(token => token.Offset), tokens.Select(token => token.Offset));
            Assert.Equal(ids.Take(3), theirs.EncodeToIds(text, 3, out normalized, out int consumed));
            Assert.Equal(consumed, theirs.GetIndexByTokenCount(text, 3, out _, out int count));
            Assert.Equal(Math.Min(3, ids.Count), count);
        }
        char[] room = new char[100];
        Assert.Equal(OperationStatus.Done, theirs.Decode(ours.EncodeToIds("abc", SpecialTokens.None), room, out int used, out int written));
        Assert.Equal(ours.EncodeToIds("abc", SpecialTokens.None).Count, used);
        Assert.Equal("abc", new string(room, 0, written));
    }

    // Every letter that the model's text may need is a byte-like token; enough to spell "Call me".
    static Ml.BpeTokenizer Bpe() => Ml.BpeTokenizer.Create(new Ml.BpeOptions(
        [.. "Calme .".Select((letter, i) => new KeyValuePair<string, int>($"{letter}", i)), new("me", 7), new("</s>", 8)])
    {
        Merges = ["m e"], SpecialTokens = new Dictionary<string, int> { ["</s>"] = 8 },
    });

    [Fact]
    public void Microsofts_tokenizer_encodes_and_decodes_for_KvCuda()
    {
        Tokenizer tokenizer = Bpe().AsKvTokenizer(endOfSequenceIds: [8]);
        Assert.Equal([0, 1, 2, 2, 7], tokenizer.EncodeToIds("Callme", SpecialTokens.ParseAndAdd));
        Assert.Equal([0, 1], tokenizer.EncodeToIds("Callme", 2, out _, out int consumed));
        Assert.Equal(2, consumed);
        Assert.Equal("Callme", tokenizer.Decode([0, 1, 2, 2, 7]));
        Assert.Equal("Call", tokenizer.Decode([0, 99, 1, 2, 2])); // padding that the tokenizer does not know
        Assert.Equal([8], tokenizer.EndOfSequenceIds);
        Assert.Equal([5, 6], Bpe().AsKvTokenizer(endOfSequenceIds: [5, 6, 5]).EndOfSequenceIds);
        StreamingDecoder stream = tokenizer.CreateStreamingDecoder();
        Assert.Equal("Callme", string.Concat(new[] { 0, 1, 2, 2, 7 }.Select(stream.Append)) + stream.Flush());
    }

    [Fact]
    public void The_way_there_and_back_is_the_tokenizer_itself()
    {
        HuggingFaceTokenizer ours = HuggingFaceTokenizer.Parse(TextGolden.Family("gpt2").Json, "gpt2");
        Assert.Same(ours, ours.AsMicrosoftTokenizer().AsKvTokenizer());
        Ml.Tokenizer theirs = Bpe();
        Assert.Same(theirs, theirs.AsKvTokenizer().AsMicrosoftTokenizer());
    }

    [Fact]
    public async Task An_engine_generates_with_Microsofts_tokenizer()
    {
        await using KvEngine engine = await KvEngine.LoadAsync(Repository.Demo, new() { Device = "cpu", Tokenizer = Bpe().AsKvTokenizer(endOfSequenceIds: [8]) },
            cancellation: TestContext.Current.CancellationToken);
        GenerationResult result = await engine.CompleteAsync("Callme", new() { MaxTokens = 12 }, TestContext.Current.CancellationToken);
        Assert.Equal(5, result.PromptTokens);
        Assert.Equal(string.Concat(result.Tokens.Where(id => id < 8).Select(id => id == 7 ? "me" : "Calme ."[id].ToString())), result.Text);
        Assert.Contains(8, engine.EndOfSequenceIds);
        Assert.Contains(0, engine.EndOfSequenceIds); // the folder's own
    }
}
