// Mixtures of experts: how many there are, and where stacked ones lie.
using KvCuda.Tensors;

namespace KvCuda.Weights.Families;

/// <summary>The experts of a layer that has them.</summary>
/// <param name="Count">experts of a layer</param>
/// <param name="Chosen">how many of them a token uses</param>
/// <param name="Size">inner size of an expert's MLP</param>
sealed record Experts(int Count, int Chosen, int Size)
{
    /// <summary>The shares of the chosen experts are divided by their sum.</summary>
    public bool Renormalise { get; init; }

    /// <summary>Gemma 4: a dense MLP runs beside them, the router has a norm of its own and every expert a scale.</summary>
    public bool BesideMlp { get; init; }

    /// <summary>Reads the three sizes.</summary>
    public static Experts Read(ConfigJson config, string count, int countOtherwise, string chosen, int chosenOtherwise, string size,
        int sizeOtherwise)
    {
        Experts experts = new(config.Int(count, countOtherwise, 1, 4096), config.Int(chosen, chosenOtherwise, 1, 4096),
            config.Int(size, sizeOtherwise, 1, FamilyFields.MaxSize));
        return experts.Chosen <= experts.Count ? experts
            : throw config.Wrong($"{chosen} {experts.Chosen} is more than {count} {experts.Count}");
    }

    /// <summary>An expert in stacked tensors: gate_up_proj [X, 2M, E], gate rows first, and down_proj [X, E, M].</summary>
    public static FusedPart? Stacked(ModelConfig config, TensorRole role, int expert, string prefix)
    {
        if (config.Experts is not { } e)
        {
            return null;
        }
        FusedPart gateUp = new(prefix + "gate_up_proj", new(e.Count, 2L * e.Size, config.HiddenSize), 2L * e.Size * expert);
        return role switch
        {
            TensorRole.ExpertGate => gateUp,
            TensorRole.ExpertUp => gateUp with { FirstRow = gateUp.FirstRow + e.Size },
            TensorRole.ExpertDown => new(prefix + "down_proj", new(e.Count, config.HiddenSize, e.Size), (long)config.HiddenSize * expert),
            _ => null,
        };
    }
}
