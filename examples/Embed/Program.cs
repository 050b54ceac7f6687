// Text from a model folder in three lines, then what the prefix cache does for a second prompt.
// Run: dotnet run --project examples/Embed -- weights/demo
using KvCuda.Engine;

await using var engine = await KvEngine.LoadAsync(args.Length > 0 ? args[0] : "weights/demo");
await foreach (var piece in engine.GenerateAsync("Call me", new() { MaxTokens = 64 }))
    Console.Write(piece.Text);

// A long prompt that several requests begin with. Compute it once and pin its pages.
const string instructions = "In the beginning God created the heaven and the earth. And the earth was without form, and void; "
    + "and darkness was upon the face of the deep. And the Spirit of God moved upon the face of the waters. "
    + "And God said, Let there be light: and there was light. And God saw the light, that it was good: "
    + "and God divided the light from the darkness. ";
await using var pinned = await engine.PrecomputeAsync(instructions);

GenerationResult result = await engine.CompleteAsync(instructions + "And God called", new() { MaxTokens = 16 });
Console.WriteLine($"\n\n{result.Text}");
Console.WriteLine($"{result.PromptTokens} prompt tokens, {result.CachedTokens} of them from the cache; "
    + $"{result.GeneratedTokens} generated; {engine.KvBytesPerToken:N0} bytes of keys and values per token");
