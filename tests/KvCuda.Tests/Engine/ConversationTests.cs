using System.Text;
using KvCuda.Engine;
using KvCuda.KvStore;
using KvCuda.Tests.Weights;
using KvCuda.Text;

namespace KvCuda.Tests.Engine;

/// <summary>Conversations in messages: what a turn computes, what is left of turns that do not end, what files keep.</summary>
public sealed class ConversationTests : IDisposable
{
    // Writes every message on a line of its own, as it was said; what is not a user's or an assistant's it refuses.
    const string Lines = """
        {% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}<{{ m.role }}> {{ m.content }}
        {% endfor %}{% if add_generation_prompt %}<assistant> {% endif %}
        """;

    static readonly GenerateOptions twenty = new() { MaxTokens = 20, IgnoreEos = true };

    readonly TemporaryFolder folder = new();

    static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public void Dispose() => folder.Dispose();

    static Task<KvEngine> Demo() => KvEngine.LoadAsync(Repository.Demo,
        new() { Device = "cpu", Threads = 1, PageTokens = 16, MaxSequences = 2 }, cancellation: Cancellation);

    static ChatFormat Format(KvEngine engine, string template = Lines) => new(engine.Tokenizer!, new ChatTemplate(template));

    static async Task<GenerationResult> Say(KvConversation talk, string text, GenerateOptions? options = null)
    {
        GenerationResult? result = null;
        await foreach (GeneratedPiece piece in talk.SayAsync(text, options ?? twenty, cancellation: Cancellation))
        {
            result = piece.Result ?? result;
        }
        return result!;
    }

    [Fact]
    public async Task A_turn_computes_only_what_is_new_in_it_and_says_what_a_cold_run_says()
    {
        await using KvEngine engine = await Demo(), cold = await Demo();
        await using KvConversation talk = engine.OpenConversation(Format(engine));
        StringBuilder expected = new();
        int before = 0;
        foreach (string said in (string[])["Call me", "In the beginning", "And the whale"])
        {
            expected.Append($"<user> {said}\n<assistant> ");
            GenerationResult result = await Say(talk, said);
            Assert.Equal(before / 16 * 16, result.CachedTokens);
            expected.Append(result.Text);
            Assert.Equal(expected.ToString(), engine.Tokenizer!.Decode(await TokensOf(talk)));
            expected.Append('\n');
            before = talk.TokenCount;
        }
        // The same tokens, told to an engine that never saw them.
        int[] tokens = [.. await TokensOf(talk)];
        List<int> again = [];
        await foreach (GeneratedPiece piece in cold.GenerateAsync(tokens[..^20], twenty, Cancellation))
        {
            again.Add(piece.Token!.Value);
        }
        Assert.Equal(tokens[^20..], again);
        Assert.Equal(["user", "assistant", "user", "assistant", "user", "assistant"], talk.Messages.Select(m => m.Role));
    }

    // What the conversation's tokens are is told by what it saves.
    async Task<IReadOnlyList<int>> TokensOf(KvConversation talk)
    {
        await talk.SaveAsync(folder["tokens"], Cancellation);
        using var json = System.Text.Json.JsonDocument.Parse(await File.ReadAllBytesAsync(folder["tokens"], Cancellation));
        return [.. json.RootElement.GetProperty("tokens").EnumerateArray().Select(id => id.GetInt32())];
    }

    [Fact]
    public async Task What_is_taken_back_was_never_said()
    {
        await using KvEngine engine = await Demo();
        await using KvConversation talk = engine.OpenConversation(Format(engine));
        await Say(talk, "Call me");
        int tokens = talk.TokenCount;
        GenerationResult once = await Say(talk, "And the whale");
        talk.RewindTo(2);
        Assert.Equal(tokens, talk.TokenCount);
        await Say(talk, "Something else");
        talk.RewindTo(2);
        GenerationResult again = await Say(talk, "And the whale");
        Assert.Equal(once.Tokens, again.Tokens);
        Assert.Equal(once.PromptTokens, again.PromptTokens);
        Assert.True(again.CachedTokens >= tokens / 16 * 16);
        talk.RewindTo(0);
        Assert.Empty(talk.Messages);
        Assert.Contains("it cannot be rewound to 1", Assert.Throws<InvalidRequestException>(() => talk.RewindTo(1)).Message, StringComparison.Ordinal);
        Assert.Equal(0, talk.TokenCount);
    }

    [Fact]
    public async Task A_turn_that_is_broken_off_keeps_what_was_read_and_one_that_said_nothing_never_was()
    {
        await using KvEngine engine = await Demo();
        await using KvConversation talk = engine.OpenConversation(Format(engine));
        await Say(talk, "Call me");
        int tokens = talk.TokenCount;

        using CancellationTokenSource early = new();
        await early.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (GeneratedPiece _ in talk.SayAsync("And the whale", twenty, cancellation: early.Token)) { }
        });
        Assert.Equal((2, tokens), (talk.Messages.Count, talk.TokenCount));

        string read = "";
        await foreach (GeneratedPiece piece in talk.SayAsync("And the whale", twenty with { MaxTokens = 200 }, cancellation: Cancellation))
        {
            read += piece.Text;
            if (read.Length > 20)
            {
                break;
            }
        }
        Assert.Equal(new ChatMessage("assistant", read), talk.Messages[^1]);
        GenerationResult next = await Say(talk, "And then");
        Assert.Equal(0, (await engine.GetKvStatusAsync()).ActiveBytes);
        string prompt = talk.Format.Render([.. talk.Messages.SkipLast(1)]);
        Assert.Equal(talk.Format.Encode(prompt).Count, next.PromptTokens);
    }

    [Fact]
    public async Task A_refused_turn_changes_nothing()
    {
        await using KvEngine engine = await Demo();
        await using KvConversation talk = engine.OpenConversation(Format(engine));
        await Say(talk, "Call me");
        int tokens = talk.TokenCount;
        var refused = await Assert.ThrowsAsync<InvalidRequestException>(() => All(talk.SayAsync([new ChatMessage("tool", "5")], twenty)));
        Assert.Contains("no tools here", refused.Message, StringComparison.Ordinal);
        var tooLong = await Assert.ThrowsAsync<InvalidRequestException>(() => All(talk.SayAsync(string.Join(' ', Enumerable.Repeat("whale", 400)), twenty)));
        Assert.Contains("context of 256", tooLong.Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<InvalidRequestException>(() => All(talk.SayAsync("Well", new() { TopP = 2 })));
        Assert.Equal((2, tokens), (talk.Messages.Count, talk.TokenCount));
        Assert.Equal(tokens / 16 * 16, (await Say(talk, "And the whale")).CachedTokens);

        static async Task All(IAsyncEnumerable<GeneratedPiece> pieces)
        {
            await foreach (GeneratedPiece _ in pieces) { }
        }
    }

    [Fact]
    public async Task Past_a_stop_text_the_next_turn_sees_only_what_was_said()
    {
        await using KvEngine engine = await Demo();
        await using KvConversation talk = engine.OpenConversation(Format(engine));
        string whole = (await Say(talk, "Call me")).Text;
        talk.RewindTo(0);
        string stop = whole[8..14];
        GenerationResult cut = await Say(talk, "Call me", twenty with { Stop = [stop] });
        Assert.Equal(FinishReason.StopText, cut.FinishReason);
        Assert.Equal(whole[..whole.IndexOf(stop, StringComparison.Ordinal)], cut.Text);
        GenerationResult next = await Say(talk, "And the whale");
        Assert.Equal(talk.Format.Encode($"<user> Call me\n<assistant> {cut.Text}\n<user> And the whale\n<assistant> ").Count, next.PromptTokens);
    }

    [Fact]
    public async Task A_template_that_writes_the_past_in_another_way_is_followed()
    {
        // As templates do that leave earlier thoughts out.
        const string forgetful = "{% for m in messages %}{% if m.role == 'user' %}Q {{ m.content }}\n{% else %}A {{ m.content[:5] }}\n{% endif %}{% endfor %}A ";
        await using KvEngine engine = await Demo();
        await using KvConversation talk = engine.OpenConversation(Format(engine, forgetful));
        GenerationResult first = await Say(talk, "Call me Ishmael, some years ago, never mind how long precisely");
        GenerationResult second = await Say(talk, "And the whale");
        IReadOnlyList<int> prompt = talk.Format.Encode(talk.Format.Render([.. talk.Messages.SkipLast(1)]));
        Assert.Equal(prompt.Count, second.PromptTokens);
        Assert.True(second.PromptTokens < first.PromptTokens + 20 + 5);
        Assert.True(second.CachedTokens >= 16);
    }

    [Fact]
    public async Task A_saved_conversation_goes_on_where_it_was_with_and_without_its_keys_and_values()
    {
        string file = folder["talk.json"];
        GenerationResult there;
        await using (KvEngine engine = await Demo())
        {
            await using KvConversation talk = engine.OpenConversation(Format(engine));
            talk.SetSystem("Speak of \"whales\".");
            Assert.False(await talk.SaveAsync(file, Cancellation));
            await Say(talk, "Call me");
            Assert.True(await talk.SaveAsync(file, Cancellation));
            there = await Say(talk, "And the whale");
        }
        await using KvEngine other = await Demo();
        ChatFormat format = Format(other);
        await using (KvConversation talk = await other.RestoreConversationAsync(file, format))
        {
            Assert.Equal(["system", "user", "assistant"], talk.Messages.Select(m => m.Role));
            int tokens = talk.TokenCount;
            GenerationResult here = await Say(talk, "And the whale");
            Assert.Equal(there.Tokens, here.Tokens);
            Assert.Equal(tokens / 16 * 16, here.CachedTokens);
        }
        byte[] keys = await File.ReadAllBytesAsync(file + ".kv", Cancellation);
        keys[^40] ^= 1;
        await File.WriteAllBytesAsync(file + ".kv", keys, Cancellation);
        await Assert.ThrowsAsync<KvSnapshotException>(() => other.RestoreConversationAsync(file, format));
        File.Delete(file + ".kv");
        await other.ClearCacheAsync();
        await using (KvConversation talk = await other.RestoreConversationAsync(file, format))
        {
            Assert.Equal(0, talk.TokenCount);
            Assert.Equal(0, (await Say(talk, "And the whale")).CachedTokens);
            Assert.Equal(5, talk.Messages.Count);
        }
    }

    [Theory]
    [InlineData("", "cannot be read")]
    [InlineData("[]", "no list \"messages\"")]
    [InlineData("""{"messages":{}}""", "no list \"messages\"")]
    [InlineData("""{"messages":[{"role":"user"}]}""", "no text \"content\"")]
    [InlineData("""{"messages":[7]}""", "no text \"role\"")]
    [InlineData("""{"messages":[],"tokens":7}""", "\"tokens\" are no list")]
    [InlineData("""{"messages":[],"tokens":["7"]}""", "is no id")]
    [InlineData("""{"messages":[],"text":7}""", "no text \"text\"")]
    [InlineData("[[[[[[[[[[[[", "cannot be read")]
    public async Task A_file_that_is_no_conversation_is_one_clear_error(string content, string message)
    {
        await using KvEngine engine = await Demo();
        string file = folder.Write("talk.json", content);
        var error = await Assert.ThrowsAsync<InvalidRequestException>(() => engine.RestoreConversationAsync(file, ChatFormat.Continuation(engine.Tokenizer!)));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
        Assert.Contains(file, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_model_without_a_template_says_so_and_can_be_told_to_go_on_with_plain_text()
    {
        await using KvEngine engine = await Demo();
        Assert.Null(engine.LoadChatFormat());
        var error = Assert.Throws<InvalidRequestException>(() => engine.OpenConversation());
        Assert.Contains("has no chat template", error.Message, StringComparison.Ordinal);
        Assert.Contains("ChatFormat.Continuation", error.Message, StringComparison.Ordinal);

        await using KvConversation talk = engine.OpenConversation(ChatFormat.Continuation(engine.Tokenizer!));
        GenerationResult first = await Say(talk, "Call me");
        Assert.Equal((await engine.CompleteAsync("Call me", twenty, Cancellation)).Text, first.Text);
        Assert.Equal($"Call me{first.Text}\nAnd", talk.Format.Render([.. talk.Messages, new("user", "And")]));
    }

    // A token is a character; every text begins with a token of its own, as SentencePiece's space is.
    sealed class Dummy : Tokenizer
    {
        protected override EncodeResults<EncodedToken> EncodeToTokens(string? text, ReadOnlySpan<char> textSpan, EncodeSettings settings) => new()
        {
            Tokens = [new(1, "_", default), .. textSpan.ToArray().Select((c, i) => new EncodedToken(c, c.ToString(), i..(i + 1)))], CharsConsumed = textSpan.Length,
        };

        public override System.Buffers.OperationStatus Decode(IEnumerable<int> ids, Span<char> destination, out int idsConsumed, out int charsWritten) =>
            throw new NotSupportedException();
    }

    [Theory]
    [InlineData("")]
    [InlineData("a")]
    [InlineData("a past of more than thirty-two characters")]
    public void What_goes_on_begins_with_nothing_of_the_tokenizers_own(string past)
    {
        ChatFormat format = new(new Dummy(), new ChatTemplate(Lines));
        Assert.Equal([.. "\n<user> b".Select(c => (int)c)], format.EncodeMore(past, "\n<user> b"));
    }

    [Fact]
    public async Task A_conversation_takes_one_turn_at_a_time()
    {
        await using KvEngine engine = await Demo();
        await using KvConversation talk = engine.OpenConversation(Format(engine));
        await foreach (GeneratedPiece _ in talk.SayAsync("Call me", twenty, cancellation: Cancellation))
        {
            await Assert.ThrowsAsync<InvalidRequestException>(() => Say(talk, "And the whale"));
            Assert.Throws<InvalidRequestException>(() => talk.RewindTo(0));
        }
        await Say(talk, "And the whale");
        Assert.Equal(4, talk.Messages.Count);
    }

    [Fact]
    public async Task A_system_text_can_be_computed_before_anybody_comes()
    {
        const string system = "You are the keeper of the lighthouse, and you tell of ships, of whales and of the sea, in few words.";
        await using KvEngine engine = await Demo();
        ChatFormat format = Format(engine);
        IReadOnlyList<int> shared = format.EncodeSystem(system);
        Assert.Equal($"<system> {system}\n<user>", engine.Tokenizer!.Decode(shared));
        await using PrecomputedPrompt pinned = await engine.PrecomputeAsync(shared, cancellation: Cancellation);
        Assert.Equal(shared.Count / 16 * 16, pinned.PinnedTokens);
        await using KvConversation talk = engine.OpenConversation(format);
        talk.SetSystem(system);
        Assert.Equal(pinned.PinnedTokens, (await Say(talk, "Who are you?")).CachedTokens);
        talk.SetSystem(null);
        Assert.Equal("user", talk.Messages[0].Role);
        // The same text as instructions of one turn is the same beginning.
        talk.RewindTo(0);
        GenerationResult result = (await Last(talk.SayAsync("Who are you?", twenty, new() { Instructions = system })))!;
        Assert.True(result.CachedTokens >= pinned.PinnedTokens);
        Assert.Equal("<system> a\n\nb\n<user> c\n<assistant> ", format.Render([new("system", "a"), new("user", "c")], new() { Instructions = "b" }));

        static async Task<GenerationResult?> Last(IAsyncEnumerable<GeneratedPiece> pieces)
        {
            GenerationResult? result = null;
            await foreach (GeneratedPiece piece in pieces)
            {
                result = piece.Result ?? result;
            }
            return result;
        }
    }
}
