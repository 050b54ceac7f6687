// Rotary positions as configs state them: rope_theta, rope_scaling, rope_parameters, also per layer type.
namespace KvCuda.Weights;

/// <summary>
/// Rotary positions (Su et al. 2021): angle of pair i at position p is p * InverseFrequencies[i]; pairs beyond the list
/// are not rotated (partial rotation).
/// </summary>
/// <param name="Type">the config's rope type: default, linear, dynamic, llama3, yarn, longrope, proportional</param>
/// <param name="InverseFrequencies">one per rotated pair, at most headDim / 2; computed in double</param>
/// <param name="Scale">multiplies cosines and sines: the attention factor of YaRN and LongRoPE, else 1</param>
sealed record Rope(string Type, float[] InverseFrequencies, float Scale)
{
    /// <summary>The layer types that a config may nest rope parameters under.</summary>
    static readonly string[] LayerTypes = ["full_attention", "sliding_attention"];

    /// <summary>Numbers of a head that are rotated: 2 per pair.</summary>
    public int RotatedDim => 2 * InverseFrequencies.Length;

    /// <summary>
    /// Positions that the scaling reaches: linear and YaRN lengthen what max_position_embeddings states (the published recipes
    /// change rope_scaling only), the other types leave it.
    /// </summary>
    public int MaxPositions { get; private init; } = int.MaxValue;

    /// <summary>LongRoPE: used for the whole of a sequence that is longer than <see cref="NativePositions"/>; else null.</summary>
    public Rope? Long { get; private init; }

    /// <summary>LongRoPE: the longest sequence that the short factors are for; else 0.</summary>
    public int NativePositions { get; private init; }

    /// <summary>
    /// From rope_theta, rope_scaling or rope_parameters. The formulas are those of Hugging Face's modeling_rope_utils.
    /// </summary>
    /// <param name="config">the model's config</param>
    /// <param name="headDim">numbers of a head</param>
    /// <param name="maxPositions">max_position_embeddings</param>
    /// <param name="layerType">
    /// the type of the layers it is for, where parameters are nested per layer type; null: all layers must have the same
    /// </param>
    /// <param name="otherwiseTheta">rope_theta where the config does not say</param>
    /// <exception cref="ModelFormatException">A value is out of range, or a field contradicts another.</exception>
    /// <exception cref="UnsupportedModelException">The type or a field of it is not known.</exception>
    public static Rope Read(ConfigJson config, int headDim, int maxPositions, string? layerType = null,
        double otherwiseTheta = 10000)
    {
        ConfigJson? scaling = RopeFields.Find(config);
        if (scaling is null || !RopeFields.IsNested(scaling, LayerTypes))
        {
            return ReadOne(config, scaling, headDim, maxPositions, lengthens: true, otherwiseTheta);
        }
        if (layerType is not null)
        {
            return Nested(layerType);
        }
        string[] types = config.Texts("layer_types") is { Length: > 0 } used
            ? [.. used.Distinct().Where(LayerTypes.Contains)] : [.. LayerTypes.Where(scaling.Has)];
        Rope[] ropes = [.. types.Select(Nested)];
        return ropes.Length > 0 && ropes.All(ropes[0].RotatesLike) ? ropes[0] : throw scaling.Unsupported(
            $"the layer types {string.Join(" and ", types)} have different rope parameters, which KvCuda does not implement for this "
            + "architecture");

        Rope Nested(string type) => ReadOne(config, scaling.Object(type)
            ?? throw scaling.Wrong($"there are layers of type {type}, but no parameters for them"), headDim, maxPositions, lengthens: false, otherwiseTheta);
    }

    /// <summary>theta^(-2i/headDim) for all pairs: positions without any scaling.</summary>
    public static Rope Plain(double theta, int headDim) => new("default", [.. Default(theta, headDim).Select(f => (float)f)], 1);

    /// <summary>Gemma 4's rope without a stated one: pairs beyond the share of the head stay as they are.</summary>
    public static Rope Proportional(double theta, int headDim, double share) => new("proportional",
        [.. Default(theta, headDim).Select((f, i) => i < (int)(share * headDim / 2) ? (float)f : 0)], 1);

    bool RotatesLike(Rope other) => Type == other.Type && Scale == other.Scale && MaxPositions == other.MaxPositions
        && NativePositions == other.NativePositions && InverseFrequencies.AsSpan().SequenceEqual(other.InverseFrequencies)
        && (Long is null ? other.Long is null : other.Long is not null && Long.RotatesLike(other.Long));

    static Rope ReadOne(ConfigJson config, ConfigJson? scaling, int headDim, int maxPositions, bool lengthens, double otherwiseTheta)
    {
        double theta = scaling is not null && scaling.Has("rope_theta")
            ? scaling.Positive("rope_theta", 0)
            : RopeFields.Theta(config, otherwiseTheta);
        double part = scaling is not null && scaling.Has("partial_rotary_factor")
            ? scaling.Positive("partial_rotary_factor", 1)
            : config.Positive("partial_rotary_factor", 1);
        string type = scaling is null ? "default" : RopeFields.TypeOf(scaling);
        int dim = (int)(headDim * part);
        if (part > 1 || dim < 2 || (dim % 2 != 0 && type != "proportional"))
        {
            throw config.Wrong($"partial_rotary_factor {part} of a head of {headDim} rotates {dim} numbers; "
                + "it must be an even number of them, at most the head");
        }
        double scale = 1, reach = maxPositions;
        double[] inverse;
        switch (type)
        {
            case "default":
                inverse = Default(theta, dim);
                break;
            case "linear":
                inverse = [.. Default(theta, dim).Select(f => f / Factor(scaling!))];
                reach = lengthens ? maxPositions * Factor(scaling!) : maxPositions;
                break;
            case "dynamic":
                inverse = Default(Dynamic(scaling!, theta, dim), dim);
                break;
            case "llama3":
                inverse = Llama3(scaling!, theta, dim, maxPositions);
                break;
            case "yarn":
                inverse = Yarn(scaling!, theta, dim, maxPositions, out scale, out reach);
                break;
            case "proportional":
                inverse = Proportional(scaling!, theta, headDim, part);
                break;
            default:
                return LongRope(config, scaling!, theta, dim, maxPositions);
        }
        return new(type, [.. inverse.Select(f => (float)f)], (float)scale) { MaxPositions = Positions(reach) };
    }

    static int Positions(double reach) => (int)Math.Clamp(reach, 1, int.MaxValue);

    static double Factor(ConfigJson scaling) => scaling.Has("factor")
        ? scaling.Positive("factor", 1)
        : throw scaling.Wrong("factor is missing");

    /// <summary>theta^(-2i/dim).</summary>
    static double[] Default(double theta, int dim) =>
        [.. Enumerable.Range(0, dim / 2).Select(i => Math.Pow(theta, -2.0 * i / dim))];

    /// <summary>
    /// Dynamic NTK leaves theta as it is up to the native length, which is as far as KvCuda runs such a model: beyond it theta
    /// follows the length, so every key in the cache would change with each token. Hunyuan's variant states a fixed alpha instead:
    /// theta * alpha^(dim/(dim-2)).
    /// </summary>
    static double Dynamic(ConfigJson scaling, double theta, int dim) =>
        scaling.Has("alpha") && dim > 2 ? theta * Math.Pow(scaling.Positive("alpha", 1), dim / (dim - 2.0)) : theta;

    /// <summary>
    /// Long waves are slowed by the factor, short ones are kept, those between are blended (Llama 3.1).
    /// </summary>
    static double[] Llama3(ConfigJson scaling, double theta, int dim, int maxPositions)
    {
        double factor = Factor(scaling);
        double low = scaling.Positive("low_freq_factor", 1), high = scaling.Positive("high_freq_factor", 4);
        double native = scaling.Positive("original_max_position_embeddings", maxPositions);
        if (high <= low)
        {
            throw scaling.Wrong($"high_freq_factor {high} should be above low_freq_factor {low}");
        }
        return [.. Default(theta, dim).Select(f =>
        {
            double turns = native * f / (2 * Math.PI);
            if (turns < low)
            {
                return f / factor;
            }
            if (turns > high)
            {
                return f;
            }
            double keep = (turns - low) / (high - low);
            return ((1 - keep) * f / factor) + (keep * f);
        })];
    }

    /// <summary>YaRN (Peng et al. 2023, arXiv 2309.00071, §3.2 to 3.4).</summary>
    static double[] Yarn(ConfigJson scaling, double theta, int dim, int maxPositions, out double scale, out double reach)
    {
        double native = scaling.Positive("original_max_position_embeddings", maxPositions);
        double factor = scaling.Has("factor") ? Factor(scaling) : maxPositions / native;
        double fast = scaling.Positive("beta_fast", 32), slow = scaling.Positive("beta_slow", 1);
        double mscale = scaling.Number("mscale", 0), mscaleAll = scaling.Number("mscale_all_dim", 0);
        reach = Math.Max(maxPositions, native * factor);
        scale = scaling.Has("attention_factor")
            ? scaling.Positive("attention_factor", 1)
            : mscale != 0 && mscaleAll != 0 ? Magnitude(mscale) / Magnitude(mscaleAll) : Magnitude(1);

        double low = Pair(fast), high = Pair(slow);
        if (scaling.Bool("truncate", true))
        {
            (low, high) = (Math.Floor(low), Math.Ceiling(high));
        }
        low = Math.Max(low, 0);
        high = Math.Min(high, dim - 1);
        double width = high == low ? 0.001 : high - low;
        return [.. Default(theta, dim).Select((f, i) =>
        {
            double interpolate = Math.Clamp((i - low) / width, 0, 1);
            return (f / factor * interpolate) + (f * (1 - interpolate));
        })];

        double Magnitude(double m) => factor <= 1 ? 1 : (0.1 * m * Math.Log(factor)) + 1;

        // The (fractional) pair that makes so many turns within the native length.
        double Pair(double turns) => dim * Math.Log(native / (turns * 2 * Math.PI)) / (2 * Math.Log(theta));
    }

    /// <summary>
    /// Gemma 4: pairs over the whole head, of which the first share is rotated with exponents over the whole head; the others
    /// stand still.
    /// </summary>
    static double[] Proportional(ConfigJson scaling, double theta, int headDim, double part)
    {
        double factor = scaling.Positive("factor", 1);
        int rotated = (int)(part * headDim / 2);
        return [.. Default(theta, headDim).Select((f, i) => i < rotated ? f / factor : 0)];
    }

    /// <summary>
    /// LongRoPE (Ding et al. 2024, arXiv 2402.13753) as Phi-3 has it: each pair is slowed by a number of its own, from one list up
    /// to the native length and from another beyond it; cosines and sines times sqrt(1 + ln factor / ln native).
    /// </summary>
    static Rope LongRope(ConfigJson config, ConfigJson scaling, double theta, int dim, int maxPositions)
    {
        int native = scaling.Has("original_max_position_embeddings")
            ? scaling.Int("original_max_position_embeddings", 1, int.MaxValue)
            : config.Int("original_max_position_embeddings", maxPositions, 1, int.MaxValue);
        double factor = scaling.Positive("factor", maxPositions / (double)native);
        double magnitude = factor <= 1 ? 1 : Math.Sqrt(1 + (Math.Log(factor) / Math.Log(native)));
        float scale = (float)scaling.Positive("attention_factor", magnitude);
        Rope list = By("long_factor");
        return By("short_factor") with { Long = list, NativePositions = native };

        Rope By(string name)
        {
            double[] factors = scaling.Positives(name) ?? throw scaling.Wrong($"{name} is missing");
            return factors.Length == dim / 2
                ? new("longrope", [.. Default(theta, dim).Select((f, i) => (float)(f / factors[i]))], scale) { MaxPositions = maxPositions }
                : throw scaling.Wrong($"{name} has {factors.Length} numbers; {dim} rotated numbers of a head need {dim / 2}");
        }
    }
}
