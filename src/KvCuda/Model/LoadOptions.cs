// How a model is loaded: the one record that goes from the caller down to weights, store and backend.
using KvCuda.Backends;
using KvCuda.Tensors;

namespace KvCuda.Model;

/// <summary>How a model is loaded: device, memory, types, sizes. The defaults suit a service that embeds it.</summary>
public record LoadOptions
{
    readonly Numerics? numericsClass;

    /// <summary><c>auto</c> (CUDA if driver, NVRTC and a device are all there, else CPU), <c>cpu</c>, <c>cuda</c>, <c>cuda:1</c>;
    /// <c>cuda-host</c> or <c>cuda-host:plain</c>: the kernels executed on the CPU, for working on them.</summary>
    public string Device { get; init; } = "auto";

    /// <summary>Threads of the CPU backend; 0 means one per core.</summary>
    public int Threads { get; init; }

    /// <summary>
    /// Overrides which layer reads whose keys and values, for experiments: the model was not trained with it. Null keeps the
    /// model's own map, as "native" does. The grammar is <see cref="KvStore.LayerSharing.Parse"/>'s.
    /// </summary>
    public string? Sharing { get; init; }

    /// <summary>
    /// Bytes of key/value pages. Null: what all sequences need at their longest, but at most nine tenths of the device's free memory
    /// on a GPU, and a quarter of the machine's (or the container's) memory on the CPU.
    /// </summary>
    public long? KvBudgetBytes { get; init; }

    /// <summary>
    /// Bytes of pinned host memory (the host tier) to which cached pages go when the device needs room, and from which they
    /// come back when a prompt begins with them; 0: such pages are forgotten. Needs a CUDA device.
    /// </summary>
    public long HostKvBudgetBytes { get; init; }

    /// <summary>Tokens per page: a power of two from 16 to 128.</summary>
    public int PageTokens { get; init; } = 64;

    /// <summary>How keys and values are kept: <c>auto</c> (the weights' type), <c>f32</c>, <c>bf16</c> or <c>f16</c>.</summary>
    public string KvType { get; init; } = "auto";

    /// <summary>Longest sequence in tokens; null means the model's own limit.</summary>
    public int? MaxContext { get; init; }

    /// <summary>Most sequences that run at the same time; others wait.</summary>
    public int MaxSequences { get; init; } = 64;

    /// <summary>Most rows (tokens) of one step: the length of a prompt chunk, and so the longest wait for a cancellation.</summary>
    public int MaxStepTokens { get; init; } = 256;

    /// <summary>
    /// Most draft tokens of one step, over all requests that speculate; each needs
    /// a row of logits. 0: nobody speculates.
    /// </summary>
    public int MaxDraftTokens { get; init; } = 32;

    /// <summary>How prompts run through models whose layers look upward.</summary>
    public PrefillMode Prefill { get; init; } = PrefillMode.Converged;

    /// <summary>
    /// <c>fast</c>: on a GPU, calls of prompt size may use other kernels than decode steps, and agree within tolerance.
    /// <c>consistent</c>: a row's bits depend on the row alone, so that cached, preempted and restored work gives exactly the
    /// tokens of a cold run. On the CPU both are consistent. A snapshot that is restored by other kernels than saved it (another device,
    /// or a processor with AMX tiles and one without) goes on within tolerance.
    /// </summary>
    public string Numerics { get; init; } = "fast";

    /// <summary>
    /// <c>stored</c>: as the files have them, in place. <c>int8</c> (CPU only): the matrices are quantised when the model is loaded,
    /// in groups of 32 numbers with a scale each, and multiplied with activations rounded to 16 bits: about half of bf16's memory and bytes
    /// read per token, at a small loss that <c>kvcuda perplexity</c> measures.
    /// </summary>
    public string Weights { get; init; } = "stored";

    /// <summary>
    /// True: the CPU copies the weights into memory of its own when it loads them. False: it reads them in place from the mapped
    /// files, which costs no copy and shares them with other processes; but then the files must stay as they are while the model
    /// is in use. If one is truncated meanwhile, the operating system ends the process; if one is overwritten in place, the model
    /// computes with the new bytes. Replace model files by renaming new ones over them, or set this. No effect on a GPU, which
    /// always has copies.
    /// </summary>
    public bool HoldWeights { get; init; }

    /// <summary>Most rows of a pass whose logits are wanted; null is one per sequence and one per draft token.</summary>
    internal int? MaxWanted { get; init; }

    /// <summary>Compile every kernel that may be needed at once, also under the host runner.</summary>
    internal bool PreparesAlways { get; init; }

    /// <summary>The class that <see cref="Numerics"/> names; set for classes that have no name there.</summary>
    internal Numerics NumericsClass
    {
        get => numericsClass ?? (Numerics == "consistent" ? Backends.Numerics.Consistent : Backends.Numerics.Fast);
        init => numericsClass = value;
    }

    internal WeightFormat? QuantiseTo => WeightFormat.Parse(Weights);
}
