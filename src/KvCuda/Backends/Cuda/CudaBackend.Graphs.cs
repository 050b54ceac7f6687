using KvCuda.Gpu;
using KvCuda.Kernels;

namespace KvCuda.Backends.Cuda;

// A pass of verbs whose key was seen before is captured as a graph, and from then on queued by one call. The first pass of
// a key runs verb by verb: it loads the kernels, which a capture must not do.
internal sealed partial class CudaBackend
{
    readonly Dictionary<int, Recording> recordings = [];
    Recording? recording;

    public bool Replay(int key)
    {
        if (!recordings.TryGetValue(key, out Recording? known) || known.Graph is null)
        {
            return false;
        }
        using GpuContext.Scope scope = Begin();
        known.Graph.Launch(stream);
        known.CountAgain(Counters);
        return true;
    }

    public void BeginRecording(int key)
    {
        using GpuContext.Scope scope = Begin();
        if (recordings.TryAdd(key, new()))
        {
            return;
        }
        if (recording is not null)
        {
            // The pass before ended in an error; what it queued was never run.
            stream.AbandonCapture();
        }
        recording = recordings[key];
        recording.Start(Counters, library);
        stream.BeginCapture();
    }

    public void EndRecording()
    {
        if (recording is null)
        {
            return;
        }
        using GpuContext.Scope scope = Begin();
        Recording done = recording;
        recording = null;
        done.Graph = stream.EndCapture();
        done.Finish(Counters, library);
        done.Graph.Launch(stream);
    }

    void DisposeGraphs()
    {
        if (recording is not null)
        {
            using GpuContext.Scope scope = context.Enter();
            stream.AbandonCapture();
            recording = null;
        }
        foreach (Recording known in recordings.Values)
        {
            known.Graph?.Dispose();
        }
        recordings.Clear();
    }

    /// <summary>A graph, and how often each verb and kernel is in it: replaying counts them again.</summary>
    sealed class Recording
    {
        (string Name, long Count)[] verbs = [];
        (Kernel Kernel, long Count)[] kernels = [];

        public GpuGraph? Graph { get; set; }

        public void Start(VerbCounters counters, KernelLibrary library)
        {
            verbs = [.. counters.Verbs()];
            kernels = [.. library.Kernels.Select(kernel => (kernel, kernel.Launches))];
        }

        public void Finish(VerbCounters counters, KernelLibrary library)
        {
            Dictionary<string, long> before = verbs.ToDictionary(v => v.Name, v => v.Count);
            verbs = [.. counters.Verbs().Select(v => (v.Name, v.Count - before.GetValueOrDefault(v.Name))).Where(v => v.Item2 > 0)];
            Dictionary<Kernel, long> launched = kernels.ToDictionary(k => k.Kernel, k => k.Count);
            kernels = [.. library.Kernels.Select(k => (k, k.Launches - launched.GetValueOrDefault(k))).Where(k => k.Item2 > 0)];
        }

        public void CountAgain(VerbCounters counters)
        {
            foreach ((string name, long count) in verbs)
            {
                counters.Count(name, count);
            }
            foreach ((Kernel kernel, long count) in kernels)
            {
                kernel.Launches += count;
            }
        }
    }
}
