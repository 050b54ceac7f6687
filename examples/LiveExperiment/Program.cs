// Two settings on live traffic, with a verdict: /ask answers, /experiment shows what has been learnt so far.
// Run: dotnet run --project examples/LiveExperiment -- --model weights/demo --urls http://127.0.0.1:5006
// Ask: curl 'http://127.0.0.1:5006/ask?q=Call%20me'
using KvCuda.Engine;
using KvCuda.Extensions;
using KvCuda.Statistics;
using KvCuda.Text;
using Microsoft.Extensions.AI;

WebApplication app = WebApplication.Create(args);
string folder = app.Configuration["model"] ?? "weights/demo";
await using var standard = await KvEngine.LoadAsync(folder);
await using var half = await KvEngine.LoadAsync(folder, new() { Sharing = "cla:2" });
IChatClient a = standard.AsChatClient(new() { Format = ChatFormat.Continuation(standard.Tokenizer!) });
IChatClient b = half.AsChatClient(new() { Format = ChatFormat.Continuation(half.Tokenizer!) });

var experiment = new Experiment(new()
{
    Name = "half the KV layers",
    Arms = [("standard", 1), ("shared", 1)],
    Metrics =
    [
        new("time_to_first_token_ms", Direction.LowerIsBetter, Margin: 20),
        new("cached_tokens", Direction.HigherIsBetter, Margin: 0.02) { Kind = MetricKind.Ratio },
        new("error", Direction.LowerIsBetter, Margin: 0.005) { Guardrail = true },
    ],
    PlannedUnitsPerArm = 2000,
});
IChatClient client = new ExperimentChatClient(experiment, new Dictionary<string, IChatClient> { ["standard"] = a, ["shared"] = b });
app.MapGet("/experiment", () => Results.Content(experiment.Report().ToHtml(), "text/html"));
app.MapGet("/experiment.json", () => Results.Content(experiment.Report().ToJson(), "application/json"));

app.MapGet("/ask", async (string q, CancellationToken cancellation) =>
    (await client.GetResponseAsync(q, new() { MaxOutputTokens = 16 }, cancellation)).Text);
app.Run();
