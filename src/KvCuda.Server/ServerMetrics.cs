using System.Diagnostics.Metrics;
using KvCuda.Extensions;

namespace KvCuda.Server;

/// <summary>What the server counts itself; all else is the engine's and the extensions' own.</summary>
sealed class ServerMetrics
{
    readonly Counter<long> responses;

    public ServerMetrics(IMeterFactory meters, Admission admission)
    {
        Meter meter = meters.Create(new MeterOptions(KvCudaTelemetry.Name));
        responses = meter.CreateCounter<long>("kvcuda.server.responses", "{response}", "Responses by endpoint and status; 499: the caller went away.");
        meter.CreateObservableUpDownCounter("kvcuda.server.requests", () => admission.Inside, "{request}", "Requests that run and wait, of those that may.");
    }

    public void Responded(string endpoint, int status) =>
        responses.Add(1, new("kvcuda.endpoint", endpoint), new("http.response.status_code", status));
}
