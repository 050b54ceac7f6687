// Everything that the stored bits of keys and values depend on, as one value.
using KvCuda.Backends;
using KvCuda.Tensors;

namespace KvCuda.Model;

/// <summary>
/// Two equal keys mean: what one run stored, another may read and get the bits that it would have computed itself. Page
/// keys and snapshots use it; what is not in here must not change a stored bit.
/// </summary>
/// <param name="Model">hash of the model's files</param>
/// <param name="Sharing">the sharing map, as text</param>
/// <param name="Format">how keys and values are stored: f32, bf16, ...</param>
/// <param name="Numerics">the numerics class: fast or consistent</param>
/// <param name="Arithmetic">backend and order of sums: cpu, cpu-amx, cuda sm_90a (<see cref="IBackend.Arithmetic"/>)</param>
/// <param name="Weights">the format that weights are multiplied in: stored, int8, ...</param>
/// <param name="Rope">which rotation, where a model has more than one to choose from</param>
/// <param name="Revision">of the kernels of that backend (<see cref="KernelRevision"/>)</param>
internal sealed record BitsKey(
    string Model, string Sharing, string Format, string Numerics, string Arithmetic, string Weights, string Rope, int Revision)
{
    /// <summary>The key of a loaded model.</summary>
    /// <param name="model">loaded for <paramref name="options"/></param>
    /// <param name="options">how it was loaded</param>
    public static BitsKey Of(LoadedModel model, LoadOptions options) => new(
        model.Identity, model.Sharing.ToString(), model.KvType.Name(), options.NumericsClass.Name(),
        model.Backend.Arithmetic, options.Weights,
        model.Config.LongRope ? "longrope-long" : model.Config.Rope?.Type ?? "none", model.Backend.KernelRevision);

    /// <summary>One line of names and values: the form in which page keys and snapshots carry it.</summary>
    public override string ToString() =>
        $"model={Model} map={Sharing} kv={Format} numerics={Numerics} arithmetic={Arithmetic} weights={Weights} "
        + $"rope={Rope} kernels={Revision}";
}
