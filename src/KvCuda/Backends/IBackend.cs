using KvCuda.Tensors;

namespace KvCuda.Backends;

/// <summary>
/// One device: the verbs that a decoder is written in (<see cref="IVerbs"/>) and the memory that they work on
/// (<see cref="IDeviceMemory"/>). What only some devices have is a property that is null elsewhere.
/// Used by one thread at a time.
/// </summary>
internal interface IBackend : IVerbs, IDeviceMemory, IDisposable
{
    /// <summary>What runs where, for people: "cpu (AVX-512, 2 threads)".</summary>
    string Name { get; }

    /// <summary>What rows are computed by, as far as it changes their bits: "cpu", "cpu-amx", "cuda sm_90a".</summary>
    string Arithmetic { get; }

    /// <summary>Which bits its kernels compute (<see cref="Backends.KernelRevision"/>).</summary>
    int KernelRevision { get; }

    /// <summary>Calls per verb, and launches per kernel where there are kernels.</summary>
    VerbCounters Counters { get; }

    /// <summary>Whether products take weights that lie so.</summary>
    bool Takes(WeightFormat format);

    /// <summary>Memory beside the device's own, with copies that run beside the verbs; null if there is none.</summary>
    IHostTier? HostTier { get; }

    /// <summary>Verbs that only some model families need; null where those families do not run.</summary>
    IFamilyVerbs? FamilyVerbs { get; }

    /// <summary>Records a pass and replays it with one call; null where that saves nothing.</summary>
    IRecorder? Recorder { get; }

    /// <summary>
    /// A backend on which passes are walked before the first real one, so that everything they need is compiled at the
    /// same time. Null where nothing has to be compiled. It lives as long as this backend.
    /// </summary>
    /// <param name="always">also where compiling more than is used costs more than it saves</param>
    IPlanningBackend? Planner(bool always);

    /// <summary>Starts, in the background, to make ready what passes over such weights and such keys and values run.</summary>
    void WarmUp(WeightFormat weights, DType kv);
}

/// <summary>
/// A backend that computes nothing: its verbs only ask for the kernels that they would launch, its memory must not be read.
/// </summary>
internal interface IPlanningBackend : IBackend
{
    /// <summary>Waits until everything that was asked for can run.</summary>
    void Complete();
}
