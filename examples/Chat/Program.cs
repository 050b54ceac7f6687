// A conversation through Microsoft.Extensions.AI: a line of standard input is a turn. Every turn computes only its new tokens.
// Run: dotnet run --project examples/Chat -- FOLDER
using KvCuda.Engine;
using KvCuda.Extensions;
using KvCuda.Text;
using Microsoft.Extensions.AI;

await using var engine = await KvEngine.LoadAsync(args.Length > 0 ? args[0] : "weights/demo");

// A model without a chat template (such as weights/demo) continues the text of all messages instead.
ChatFormat format = engine.LoadChatFormat() ?? ChatFormat.Continuation(engine.Tokenizer!);
using IChatClient chat = engine.AsChatClient(new() { Format = format, KeepConversations = true });

string? conversation = null;
while (Console.ReadLine() is { } line)
{
    ChatOptions options = new() { ConversationId = conversation, MaxOutputTokens = 24 };
    UsageDetails? usage = null;
    await foreach (ChatResponseUpdate update in chat.GetStreamingResponseAsync(line, options))
    {
        Console.Write(update.Text);
        conversation = update.ConversationId ?? conversation;
        usage = update.Contents.OfType<UsageContent>().LastOrDefault()?.Details ?? usage;
    }
    Console.WriteLine($"\n[{usage?.InputTokenCount} input tokens, {usage?.CachedInputTokenCount} from the cache]");
}
