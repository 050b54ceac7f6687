using System.Diagnostics.Metrics;
using KvCuda.Extensions;

namespace KvCuda.Server;

/// <summary>What the server counts itself; all else is the engine's and the extensions' own.</summary>
sealed class ServerMetrics
{
    readonly Counter<long> responses;

    public ServerMetrics(IMeterFactory meters, Admission admission, Func<List<KvAlert>> alerts)
    {
        Meter meter = meters.Create(new MeterOptions(KvCudaTelemetry.Name));
        responses = meter.CreateCounter<long>("kvcuda.server.responses", "{response}", "Responses by endpoint and status; 499: the caller went away.");
        meter.CreateObservableUpDownCounter("kvcuda.server.requests", () => admission.Inside, "{request}", "Requests that run and wait, of those that may.");
        meter.CreateObservableUpDownCounter("kvcuda.server.places", () => admission.Most, "{request}", "Requests that may run and wait.");
        meter.CreateObservableGauge("kvcuda.alert", () => alerts().Select(alert => new Measurement<int>(alert.Raised ? 1 : 0,
            new KeyValuePair<string, object?>("kvcuda.alert.name", alert.Rule.Name))), description: "1: the alert is raised.");
        long begun = System.Diagnostics.Stopwatch.GetTimestamp();
        meter.CreateObservableGauge("process.uptime", () => System.Diagnostics.Stopwatch.GetElapsedTime(begun).TotalSeconds, "s", "Since the server was made.");
        meter.CreateObservableUpDownCounter("process.memory.usage", () => Environment.WorkingSet, "By", "The process's memory.");
        meter.CreateObservableCounter("process.cpu.time", () => Environment.CpuUsage.TotalTime.TotalSeconds, "s", "The process's time on all cores.");
    }

    public void Responded(string endpoint, int status) =>
        responses.Add(1, new("kvcuda.endpoint", endpoint), new("http.response.status_code", status));
}
