// A web application that answers with a model in its own process: dependency injection, health, settings.
// Run: dotnet run --project examples/Service -- --KvCuda:ModelPath=weights/demo --urls http://127.0.0.1:5005
// Ask: curl 'http://127.0.0.1:5005/ask?q=Call%20me'
using KvCuda.Extensions;
using Microsoft.Extensions.AI;

var builder = WebApplication.CreateBuilder(args);
builder.Services.AddKvCuda().BindConfiguration("KvCuda");
builder.Services.AddHealthChecks().AddCheck<KvCudaHealthCheck>("model");

var app = builder.Build();
app.MapHealthChecks("/health");
app.MapGet("/ask", async (string q, IChatClient chat, CancellationToken cancellation) =>
    (await chat.GetResponseAsync(q, cancellationToken: cancellation)).Text);
app.Run();
