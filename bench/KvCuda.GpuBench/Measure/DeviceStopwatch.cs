using KvCuda.Gpu;

namespace KvCuda.GpuBench;

/// <summary>Device time of queued work, by events on the stream: medians of repeated runs after a warm-up.</summary>
internal sealed class DeviceStopwatch(GpuStream stream) : IDisposable
{
    const int Repeats = 7;
    const double EnoughMicroseconds = 20_000;

    readonly GpuEvent start = new(stream.Context, timing: true);
    readonly GpuEvent end = new(stream.Context, timing: true);

    /// <summary>
    /// Microseconds of one call among many that were captured as a graph, as in a decode step: the host's time to queue a
    /// launch, longer than many kernels, is not in it.
    /// </summary>
    /// <param name="queue">queues work that can be captured; given the number of the call, to rotate buffers with</param>
    public double MicrosecondsInGraph(Action<int> queue)
    {
        using GpuContext.Scope scope = stream.Context.Enter();
        queue(0); // loads the kernels, which a capture must not do
        int call = 0;
        GpuGraph Capture(int calls)
        {
            stream.BeginCapture();
            for (int i = 0; i < calls; i++)
            {
                queue(call++);
            }
            return stream.EndCapture();
        }
        double once;
        using (GpuGraph few = Capture(2))
        {
            once = Math.Max(Microseconds(_ => few.Launch(stream)) / 2, 0.1);
        }
        int calls = (int)Math.Clamp(EnoughMicroseconds / 10 / once, 4, 256);
        using GpuGraph many = Capture(calls);
        return Microseconds(_ => many.Launch(stream)) / calls;
    }

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
