// What stays cached, and for whom: pinned prompts, sessions, conversations, snapshots, a text longer than the context.
// Run: dotnet run --project examples/Sessions -- weights/demo
using KvCuda.Engine;
using KvCuda.Text;

await using var engine = await KvEngine.LoadAsync(args.Length > 0 ? args[0] : "weights/demo");
string folder = Directory.CreateTempSubdirectory("kvcuda-example-").FullName;

// A prompt that many requests begin with is computed once, and its pages stay until it is disposed.
string instructions = string.Concat(Enumerable.Repeat("And God saw every thing that he had made, and, behold, it was very good. ", 5));
await using var pinned = await engine.PrecomputeAsync(instructions);
RequestPlan plan = await engine.PlanAsync(instructions + "And");
Console.WriteLine($"{plan.CachedTokens} of {plan.PromptTokens} prompt tokens are cached before the request starts");

// A session computes only the new tokens of each turn. Nobody with another salt finds its tokens.
const string tenant = "tenant-1";
await using var talk = engine.OpenSession(new() { Salt = tenant, IdleTimeToLive = TimeSpan.FromMinutes(10) });
await foreach (var piece in talk.GenerateAsync("Call me", new() { MaxTokens = 16 }))
    Console.Write(piece.Text);
Console.WriteLine();

// A conversation is a session in messages. weights/demo has no chat template, so this one continues a running text.
ChatFormat format = engine.LoadChatFormat() ?? ChatFormat.Continuation(engine.Tokenizer!);
string file = Path.Combine(folder, "talk.kv");
await using (var conversation = engine.OpenConversation(format))
{
    await foreach (var piece in conversation.SayAsync("And the whale", new() { MaxTokens = 16 }))
        Console.Write(piece.Text);
    await conversation.SaveAsync(file);
}
await using var restored = await engine.RestoreConversationAsync(file, format);
Console.WriteLine($"\nrestored {restored.Messages.Count} messages, {restored.TokenCount} tokens");

// Longer than the context, at constant memory: the first tokens and the latest ones stay.
GenerationResult longText = await engine.CompleteAsync("Call me",
    new() { MaxTokens = 300, IgnoreEos = true, WhenFull = ContextFull.Slide, Sinks = 4, Window = 124 });
Console.WriteLine($"{longText.GeneratedTokens} tokens in {longText.KvBytes:N0} bytes of keys and values");

Console.WriteLine(await engine.GetKvStatusAsync());
Directory.Delete(folder, recursive: true);
