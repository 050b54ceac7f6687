using System.Runtime.CompilerServices;
using KvCuda.Engine;
using KvCuda.Extensions;
using KvCuda.Tests.Engine;
using KvCuda.Text;
using Microsoft.Extensions.AI;
using ChatMessage = Microsoft.Extensions.AI.ChatMessage;

namespace KvCuda.Tests.Extensions;

/// <summary>The engine as an IChatClient, as an application would use it.</summary>
public class ChatClientTests(ChatModel model) : IClassFixture<ChatModel>
{
    static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    KvEngine Engine => model.Engine;

    // A salt of its own for each test: what one computes, no other finds.
    KvChatClient Client(KvChatClientOptions? options = null, int maxTokens = 20, [CallerMemberName] string salt = "") =>
        Engine.AsChatClient((options ?? new()) with { Generate = new() { MaxTokens = maxTokens, Salt = salt, IgnoreEos = true } });

    static ChatMessage User(string text) => new(ChatRole.User, text);

    [Fact]
    public async Task The_answer_is_what_the_engine_says_after_the_rendered_template()
    {
        using KvChatClient chat = Client();
        ChatResponse response = await chat.GetResponseAsync([new(ChatRole.System, "Be brief."), User("Call me")], cancellationToken: Cancellation);
        GenerationResult expected = await Engine.CompleteAsync("<system> Be brief.\n<user> Call me\n<assistant> ", new() { MaxTokens = 20, IgnoreEos = true }, Cancellation);
        Assert.Equal(expected.Text, response.Text);
        Assert.Equal(ChatRole.Assistant, Assert.Single(response.Messages).Role);
        Assert.Equal(expected.PromptTokens, response.Usage!.InputTokenCount);
        Assert.Equal(20, response.Usage.OutputTokenCount);
        Assert.Equal(expected.PromptTokens + 20, response.Usage.TotalTokenCount);
        Assert.Equal(ChatFinishReason.Length, response.FinishReason);
        Assert.Equal(Path.GetFileName(model.Folder), response.ModelId);
        Assert.Null(response.ConversationId);
        Assert.NotNull(response.ResponseId);
        Assert.Equal(expected.Tokens, Assert.IsType<GenerationResult>(response.RawRepresentation).Tokens);
    }

    [Fact]
    public async Task Streaming_says_the_same_in_pieces_of_one_message()
    {
        using KvChatClient chat = Client();
        ChatResponse whole = await chat.GetResponseAsync("In the beginning", cancellationToken: Cancellation);
        List<ChatResponseUpdate> updates = [];
        await foreach (ChatResponseUpdate update in chat.GetStreamingResponseAsync("In the beginning", cancellationToken: Cancellation))
        {
            updates.Add(update);
        }
        Assert.True(updates.Count > 5);
        Assert.Equal(whole.Text, string.Concat(updates.Select(update => update.Text)));
        Assert.Single(updates.Select(update => (update.ResponseId, update.MessageId, update.Role, update.ModelId, update.CreatedAt)).Distinct());
        Assert.All(updates.SkipLast(1), update => Assert.Null(update.FinishReason));
        ChatResponse joined = updates.ToChatResponse();
        Assert.Equal(whole.FinishReason, joined.FinishReason);
        Assert.Equal(whole.Usage!.OutputTokenCount, joined.Usage!.OutputTokenCount);
        Assert.Single(joined.Messages);
    }

    [Fact]
    public async Task A_second_turn_with_the_whole_history_finds_the_first_ones_tokens()
    {
        using KvChatClient chat = Client();
        List<ChatMessage> history = [User("Call me Ishmael, some years ago, never mind how long precisely")];
        ChatResponse first = await chat.GetResponseAsync(history, cancellationToken: Cancellation);
        Assert.Equal(0, first.Usage!.CachedInputTokenCount);
        Assert.Equal(first.Usage.InputTokenCount, first.Usage.AdditionalCounts!["kvcuda.computed_input_tokens"]);
        history.AddMessages(first);
        history.Add(User("And the whale?"));
        ChatResponse second = await chat.GetResponseAsync(history, cancellationToken: Cancellation);
        Assert.True(second.Usage!.CachedInputTokenCount >= first.Usage.InputTokenCount / 16 * 16);
        Assert.Equal(second.Usage.InputTokenCount - second.Usage.CachedInputTokenCount, second.Usage.AdditionalCounts!["kvcuda.computed_input_tokens"]);
    }

    [Fact]
    public async Task A_kept_conversation_takes_only_what_is_new()
    {
        using KvChatClient chat = Client(new() { KeepConversations = true });
        ChatResponse first = await chat.GetResponseAsync("Call me Ishmael", cancellationToken: Cancellation);
        Assert.NotNull(first.ConversationId);
        ChatResponse second = await chat.GetResponseAsync("And the whale?", new() { ConversationId = first.ConversationId }, Cancellation);
        Assert.Equal(first.ConversationId, second.ConversationId);
        long past = first.Usage!.TotalTokenCount!.Value;
        Assert.Equal(past / 16 * 16, second.Usage!.CachedInputTokenCount);
        Assert.Equal(past + Engine.Tokenizer!.EncodeToIds("\n<user> And the whale?\n<assistant> ").Count, second.Usage.InputTokenCount);

        // A conversation that begins now knows nothing of it.
        ChatResponse other = await chat.GetResponseAsync("Call me Ishmael", cancellationToken: Cancellation);
        Assert.NotEqual(first.ConversationId, other.ConversationId);
        Assert.Equal(first.Text, other.Text);

        Assert.True(await chat.CloseConversationAsync(first.ConversationId));
        Assert.False(await chat.CloseConversationAsync(first.ConversationId));
        var error = await Assert.ThrowsAsync<InvalidRequestException>(() =>
            chat.GetResponseAsync("And?", new() { ConversationId = first.ConversationId }, Cancellation));
        Assert.Contains($"The conversation {first.ConversationId} is not known", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_conversations_id_is_worth_nothing_to_another_tenant_or_to_a_client_that_keeps_none()
    {
        using KvChatClient chat = Client(new() { KeepConversations = true }), other = Client();
        ChatResponse first = await chat.GetResponseAsync("Call me", cancellationToken: Cancellation);
        ChatOptions stolen = new() { ConversationId = first.ConversationId, RawRepresentationFactory = _ => new GenerateOptions { Salt = "another" } };
        Assert.Contains("is not known", (await Assert.ThrowsAsync<InvalidRequestException>(() => chat.GetResponseAsync("And?", stolen, Cancellation))).Message,
            StringComparison.Ordinal);
        Assert.Contains("KeepConversations is false", (await Assert.ThrowsAsync<InvalidRequestException>(() =>
            other.GetResponseAsync("And?", new() { ConversationId = first.ConversationId }, Cancellation))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Conversations_end_when_they_are_idle_or_others_need_their_place()
    {
        HandClock clock = new();
        using KvChatClient chat = Client(new() { KeepConversations = true, MaxConversations = 2, ConversationIdleTime = TimeSpan.FromMinutes(10), TimeProvider = clock });
        string a = await Begin(), b = await Begin();
        clock.Milliseconds += 60_000;
        await GoOn(a);
        string c = await Begin(); // b was used least recently
        await Assert.ThrowsAsync<InvalidRequestException>(() => GoOn(b));
        await GoOn(c);
        clock.Milliseconds += 9 * 60_000;
        await GoOn(a);
        clock.Milliseconds += 9 * 60_000;
        await GoOn(a);
        await Assert.ThrowsAsync<InvalidRequestException>(() => GoOn(c));

        async Task<string> Begin()
        {
            clock.Milliseconds++;
            return (await chat.GetResponseAsync("Call me", new() { MaxOutputTokens = 2 }, Cancellation)).ConversationId!;
        }

        Task GoOn(string id)
        {
            clock.Milliseconds++;
            return chat.GetResponseAsync("And", new() { MaxOutputTokens = 2, ConversationId = id }, Cancellation);
        }
    }

    [Fact]
    public async Task Options_are_the_engines()
    {
        using KvChatClient chat = Client();
        ChatOptions options = new()
        {
            Temperature = 1.5f, TopP = 0.9f, TopK = 40, Seed = 7, MaxOutputTokens = 12, AdditionalProperties = new() { ["min_p"] = 0.01, ["repetition_penalty"] = 1.2f },
        };
        ChatResponse drawn = await chat.GetResponseAsync("Call me", options, Cancellation);
        GenerationResult expected = await Engine.CompleteAsync("<user> Call me\n<assistant> ", new()
        {
            Temperature = 1.5f, TopP = 0.9f, TopK = 40, Seed = 7, MaxTokens = 12, MinP = 0.01f, RepetitionPenalty = 1.2f, IgnoreEos = true,
        }, Cancellation);
        Assert.Equal(expected.Text, drawn.Text);

        ChatResponse greedy = await chat.GetResponseAsync("Call me", cancellationToken: Cancellation);
        ChatResponse stopped = await chat.GetResponseAsync("Call me", new() { StopSequences = [greedy.Text[5..9]] }, Cancellation);
        Assert.Equal(greedy.Text[..greedy.Text.IndexOf(greedy.Text[5..9], StringComparison.Ordinal)], stopped.Text);
        Assert.Equal(ChatFinishReason.Stop, stopped.FinishReason);

        ChatOptions raw = new() { MaxOutputTokens = 3, RawRepresentationFactory = _ => new GenerateOptions { MaxTokens = 9, Logprobs = 2 } };
        await foreach (ChatResponseUpdate update in chat.GetStreamingResponseAsync("Call me", raw, Cancellation))
        {
            GeneratedPiece piece = Assert.IsType<GeneratedPiece>(update.RawRepresentation);
            Assert.Equal(2, piece.Logprob!.Top.Count);
        }

        ChatResponse instructed = await chat.GetResponseAsync("Call me", new() { Instructions = "Be brief." }, Cancellation);
        Assert.Equal((await chat.GetResponseAsync([new(ChatRole.System, "Be brief."), User("Call me")], cancellationToken: Cancellation)).Text, instructed.Text);
    }

    [Fact]
    public async Task Templates_are_told_whether_to_think()
    {
        using KvChatClient chat = Client();
        long plain = await Prompt(new()), thinking = await Prompt(new() { Reasoning = new() { Effort = ReasoningEffort.High } }),
            not = await Prompt(new() { Reasoning = new() { Effort = ReasoningEffort.None } }),
            said = await Prompt(new() { AdditionalProperties = new() { ["chat_template_kwargs"] = new Dictionary<string, object?> { ["enable_thinking"] = false } } });
        Assert.Equal(plain, thinking);
        Assert.True(not > plain);
        Assert.Equal(not, said);

        async Task<long> Prompt(ChatOptions options) => (await chat.GetResponseAsync("Call me", options, Cancellation)).Usage!.InputTokenCount!.Value;
    }

    [Fact]
    public async Task What_the_engine_cannot_do_is_one_error_that_names_all_of_it()
    {
        using KvChatClient chat = Client(), lenient = Client(new() { IgnoreUnsupportedOptions = true });
        ChatOptions options = new()
        {
            Tools = [new HostedWebSearchTool()], ResponseFormat = ChatResponseFormat.Json, FrequencyPenalty = 0.5f, PresencePenalty = 0.25f, ModelId = "gpt",
        };
        string message = (await Assert.ThrowsAsync<InvalidRequestException>(() => chat.GetResponseAsync("Call me", options, Cancellation))).Message;
        foreach (string part in (string[])["1 tools", "JSON", "frequency penalty of 0.5", "presence penalty of 0.25", "the model gpt", "IgnoreUnsupportedOptions"])
        {
            Assert.Contains(part, message, StringComparison.Ordinal);
        }
        string text = (await chat.GetResponseAsync("Call me", cancellationToken: Cancellation)).Text;
        Assert.Equal(text, (await lenient.GetResponseAsync("Call me", options, Cancellation)).Text);

        // What the contract says may be ignored, and what asks for nothing.
        ChatOptions harmless = new()
        {
            Tools = [AIFunctionFactory.Create(() => 1, "one")], ToolMode = ChatToolMode.None, ResponseFormat = ChatResponseFormat.Text, FrequencyPenalty = 0,
            AllowMultipleToolCalls = true, ModelId = Path.GetFileName(model.Folder),
        };
        Assert.Equal(text, (await chat.GetResponseAsync("Call me", harmless, Cancellation)).Text);
    }

    public static TheoryData<string, Func<IChatClient, Task>> Wrong => new()
    {
        { "Message 1 (user) has a DataContent", chat => chat.GetResponseAsync([new ChatMessage(ChatRole.User, [new TextContent("What is this?"), new DataContent(new byte[] { 1 }, "image/png")])]) },
        { "no tools here", chat => chat.GetResponseAsync([new ChatMessage(ChatRole.Tool, [new FunctionResultContent("1", 2)])]) },
        { "does not tell the model of tools", chat => chat.GetResponseAsync("Call me", new() { Tools = [AIFunctionFactory.Create(() => 1, "one")] }) },
        { "no tools here", chat => chat.GetResponseAsync([new ChatMessage(ChatRole.Tool, "2")]) },
        { "has no messages", chat => chat.GetResponseAsync([]) },
        { "MaxTokens is 0", chat => chat.GetResponseAsync("Call me", new() { MaxOutputTokens = 0 }) },
        { "TopP is 3", chat => chat.GetResponseAsync("Call me", new() { TopP = 3 }) },
        { "min_p = much", chat => chat.GetResponseAsync("Call me", new() { AdditionalProperties = new() { ["min_p"] = "much" } }) },
        { "chat_template_kwargs", chat => chat.GetResponseAsync("Call me", new() { AdditionalProperties = new() { ["chat_template_kwargs"] = 7 } }) },
        { "gave a System.String", chat => chat.GetResponseAsync("Call me", new() { RawRepresentationFactory = _ => "what" }) },
        { "context of 256", chat => chat.GetResponseAsync(string.Join(' ', Enumerable.Repeat("whale", 500))) },
    };

    [Theory]
    [MemberData(nameof(Wrong), DisableDiscoveryEnumeration = true)]
    public async Task A_request_that_cannot_be_is_one_clear_error(string message, Func<IChatClient, Task> request)
    {
        using KvChatClient chat = Client(), keeping = Client(new() { KeepConversations = true, MaxConversations = 1 });
        foreach (KvChatClient client in (KvChatClient[])[chat, keeping])
        {
            Assert.Contains(message, (await Assert.ThrowsAsync<InvalidRequestException>(() => request(client))).Message, StringComparison.Ordinal);
        }
        await keeping.GetResponseAsync("Call me", cancellationToken: Cancellation); // no conversation was left behind
    }

    [Fact]
    public async Task Breaking_off_and_cancelling_free_the_sequence()
    {
        using KvChatClient chat = Client(new() { KeepConversations = true }, maxTokens: 200);
        string? conversation = null;
        string read = "";
        await foreach (ChatResponseUpdate update in chat.GetStreamingResponseAsync("Call me", cancellationToken: Cancellation))
        {
            conversation = update.ConversationId;
            read += update.Text;
            break;
        }
        using CancellationTokenSource source = new();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (ChatResponseUpdate _ in chat.GetStreamingResponseAsync("In the beginning", cancellationToken: source.Token))
            {
                await source.CancelAsync();
            }
        });
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => chat.GetResponseAsync("In the beginning", cancellationToken: source.Token));
        // A step later both are gone, and the conversation has what was read.
        ChatResponse next = await chat.GetResponseAsync("And then", new() { MaxOutputTokens = 2, ConversationId = conversation }, Cancellation);
        Assert.Equal(0, (await Engine.GetKvStatusAsync()).ActiveBytes);
        Assert.Equal(Engine.Tokenizer!.EncodeToIds($"<user> Call me\n<assistant> {read}\n<user> And then\n<assistant> ").Count, next.Usage!.InputTokenCount);
    }

    [Fact]
    public async Task Clients_at_once_get_what_each_gets_alone()
    {
        using KvChatClient one = Client(salt: "one"), two = Client(new() { KeepConversations = true }, salt: "two");
        string[] said = ["Call me", "In the beginning", "And the whale", "Of the sea", "The king", "My son"];
        string[] alone = new string[said.Length];
        for (int i = 0; i < said.Length; i++)
        {
            alone[i] = (await one.GetResponseAsync(said[i], cancellationToken: Cancellation)).Text;
        }
        string[] together = await Task.WhenAll(said.Select(async (text, i) =>
            (await (i % 2 == 0 ? one : two).GetResponseAsync(text, cancellationToken: Cancellation)).Text));
        Assert.Equal(alone, together);
    }

    [Fact]
    public async Task One_conversation_takes_one_turn_at_a_time()
    {
        using KvChatClient chat = Client(new() { KeepConversations = true });
        await foreach (ChatResponseUpdate update in chat.GetStreamingResponseAsync("Call me", cancellationToken: Cancellation))
        {
            var error = await Assert.ThrowsAsync<InvalidRequestException>(() =>
                chat.GetResponseAsync("And", new() { ConversationId = update.ConversationId }, Cancellation));
            Assert.Contains("one at a time", error.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Services_and_metadata_say_who_answers()
    {
        using KvChatClient chat = Client(new() { ModelId = "whale" });
        ChatClientMetadata metadata = chat.GetRequiredService<ChatClientMetadata>();
        Assert.Equal(("kvcuda", "whale"), (metadata.ProviderName, metadata.DefaultModelId));
        Assert.Same(chat, chat.GetService<IChatClient>());
        Assert.Same(chat, chat.GetService<KvChatClient>());
        Assert.Same(Engine, chat.GetService<KvEngine>());
        Assert.Null(chat.GetService<string>());
        Assert.Null(chat.GetService(typeof(KvChatClient), "key"));
    }

    [Fact]
    public async Task Without_a_chat_template_a_client_needs_to_be_given_a_format()
    {
        await using KvEngine bare = await KvEngine.LoadAsync(Repository.Demo, ChatModel.Small, cancellation: Cancellation);
        string message = Assert.Throws<InvalidRequestException>(() => bare.AsChatClient()).Message;
        Assert.Contains("has no chat template", message, StringComparison.Ordinal);
        Assert.Contains("ChatFormat.Continuation", message, StringComparison.Ordinal);
        using KvChatClient chat = bare.AsChatClient(new() { Format = ChatFormat.Continuation(bare.Tokenizer!), Generate = new() { MaxTokens = 8 } });
        Assert.Equal((await bare.CompleteAsync("Call me", new() { MaxTokens = 8 }, Cancellation)).Text,
            (await chat.GetResponseAsync("Call me", cancellationToken: Cancellation)).Text);
    }

    [Fact]
    public async Task A_disposed_client_or_engine_says_so()
    {
        KvEngine engine = await KvEngine.LoadAsync(model.Folder, ChatModel.Small, cancellation: Cancellation);
        KvChatClient chat = engine.AsChatClient(new() { KeepConversations = true });
        string id = (await chat.GetResponseAsync("Call me", new() { MaxOutputTokens = 2 }, Cancellation)).ConversationId!;
        await chat.DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => chat.GetResponseAsync("And", new() { ConversationId = id }, Cancellation));
        using KvChatClient other = engine.AsChatClient();
        await engine.DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => other.GetResponseAsync("Call me", cancellationToken: Cancellation));
    }
}
