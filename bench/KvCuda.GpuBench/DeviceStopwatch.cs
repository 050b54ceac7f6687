using KvCuda.Gpu;

namespace KvCuda.GpuBench;

/// <summary>Device time of queued work, by events on the stream: medians of repeated runs after a warm-up.</summary>
internal sealed class DeviceStopwatch(GpuStream stream) : IDisposable
{
    const int Repeats = 7;
    const double EnoughMicroseconds = 20_000;

    readonly GpuEvent start = new(stream.Context, timing: true);
    readonly GpuEvent end = new(stream.Context, timing: true);

    /// <summary>Microseconds of one call; <paramref name="queue"/> is given the number of the call, to rotate buffers with.</summary>
    public double Microseconds(Action<int> queue)
    {
        using GpuContext.Scope scope = stream.Context.Enter();
        int call = 0;
        double Run(int calls)
        {
            start.Record(stream);
            for (int i = 0; i < calls; i++)
            {
                queue(call++);
            }
            end.Record(stream);
            end.Synchronize();
            return end.MicrosecondsSince(start) / calls;
        }
        _ = Run(1);
        double once = Math.Max(Run(2), 0.1);
        int calls = (int)Math.Clamp(EnoughMicroseconds / once, 1, 1000);
        double[] times = new double[Repeats];
        for (int i = 0; i < Repeats; i++)
        {
            times[i] = Run(calls);
        }
        Array.Sort(times);
        return times[Repeats / 2];
    }

    public void Dispose()
    {
        start.Dispose();
        end.Dispose();
    }
}
