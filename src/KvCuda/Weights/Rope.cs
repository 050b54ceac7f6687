namespace KvCuda.Weights;

/// <summary>
/// Rotary positions (Su et al. 2021): angle of pair i at position p is p * InverseFrequencies[i]; pairs beyond the list
/// are not rotated (partial rotation).
/// </summary>
/// <param name="Type">the config's rope type: default, linear, llama3, dynamic, yarn</param>
/// <param name="InverseFrequencies">one per rotated pair, at most headDim / 2; computed in double</param>
/// <param name="Scale">multiplies cosines and sines: YaRN's attention factor, else 1</param>
sealed record Rope(string Type, float[] InverseFrequencies, float Scale)
{
    /// <summary>Numbers of a head that are rotated: 2 per pair.</summary>
    public int RotatedDim => 2 * InverseFrequencies.Length;

    /// <summary>
    /// From rope_theta, rope_scaling or rope_parameters. The formulas are those of Hugging Face's
    /// modeling_rope_utils.
    /// </summary>
    public static Rope Read(ConfigJson config, int headDim, int maxPositions)
    {
        // rope_parameters (transformers 5) holds what rope_theta and rope_scaling held before.
        ConfigJson? scaling = config.Object("rope_parameters") ?? config.Object("rope_scaling");
        double theta = scaling is not null && scaling.Has("rope_theta")
            ? scaling.Positive("rope_theta", 0)
            : config.Positive("rope_theta", 10000);
        double part = scaling is not null && scaling.Has("partial_rotary_factor")
            ? scaling.Positive("partial_rotary_factor", 1)
            : config.Positive("partial_rotary_factor", 1);
        int dim = (int)(headDim * part);
        if (part > 1 || dim < 2 || dim % 2 != 0)
        {
            throw config.Wrong($"partial_rotary_factor {part} of a head of {headDim} rotates {dim} numbers; "
                + "it must be an even number of them, at most the head");
        }
        string type = scaling?.Text("rope_type") ?? scaling?.Text("type") ?? "default";
        double scale = 1;
        double[] inverse = type switch
        {
            _ when scaling?.Has("mrope_section") == true =>
                throw config.Unsupported("mrope_section asks for positions in several dimensions, which KvCuda does not implement"),
            "default" => Default(theta, dim),
            "linear" => [.. Default(theta, dim).Select(f => f / Factor(scaling!))],
            "dynamic" => Default(Dynamic(scaling!, theta, dim), dim),
            "llama3" => Llama3(scaling!, theta, dim, maxPositions),
            "yarn" => Yarn(scaling!, theta, dim, maxPositions, out scale),
            _ => throw config.Unsupported($"the rope type '{SafetensorsHeader.Printable(type)}' is not supported; "
                + "supported are default, linear, dynamic, llama3 and yarn"),
        };
        return new(type, [.. inverse.Select(f => (float)f)], (float)scale);
    }

    static double Factor(ConfigJson scaling) => scaling.Has("factor")
        ? scaling.Positive("factor", 1)
        : throw scaling.Wrong("factor is missing");

    /// <summary>theta^(-2i/dim).</summary>
    static double[] Default(double theta, int dim) =>
        [.. Enumerable.Range(0, dim / 2).Select(i => Math.Pow(theta, -2.0 * i / dim))];

    /// <summary>
    /// Dynamic NTK leaves theta as it is up to the native length, which is as far as KvCuda runs such a model. Hunyuan's
    /// variant states a fixed alpha instead: theta * alpha^(dim/(dim-2)).
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
    static double[] Yarn(ConfigJson scaling, double theta, int dim, int maxPositions, out double scale)
    {
        double native = scaling.Positive("original_max_position_embeddings", maxPositions);
        double factor = scaling.Has("factor") ? Factor(scaling) : maxPositions / native;
        double fast = scaling.Positive("beta_fast", 32), slow = scaling.Positive("beta_slow", 1);
        double mscale = scaling.Number("mscale", 0), mscaleAll = scaling.Number("mscale_all_dim", 0);
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
}
