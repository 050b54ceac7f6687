// Which layer reads whose keys and values, as one string: what each map costs per token, and what it does to the text.
// The model was trained with its own map, so the others are experiments: they show bytes, not quality.
// Run: dotnet run --project examples/CustomSharing -- weights/demo
using KvCuda.Engine;
using KvCuda.KvStore;

string folder = args.Length > 0 ? args[0] : "weights/demo";
int layers;
await using (var native = await KvEngine.LoadAsync(folder))
    layers = native.Sharing.Layers;

// A name of the study, a name of a paper, and a map of your own: layer i reads the keys and values of layer i & ~1.
string own = string.Join('_', Enumerable.Range(0, layers).Select(layer => layer & ~1));
foreach (string map in (string[])["native", "sandwich-middle:3", "cla:4", own])
{
    await using var engine = await KvEngine.LoadAsync(folder, new() { Sharing = map });
    LayerSharing sharing = engine.Sharing;
    GenerationResult result = await engine.CompleteAsync("Call me", new() { MaxTokens = 12 });
    Console.WriteLine($"{map,-18} {sharing,-18} {sharing.Owners.Count} of {layers} layers own keys and values, "
        + $"{engine.KvBytesPerToken:N0} bytes per token: {result.Text.ReplaceLineEndings(" ")}");
}
