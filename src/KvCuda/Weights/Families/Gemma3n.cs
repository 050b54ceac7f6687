// Gemma 3n: several streams (AltUp), a low-rank branch (LAuReL), per-layer embeddings, sparse gates, shared keys and values.
using System.Text.Json;
using KvCuda.Tensors;
using static KvCuda.Weights.TensorRole;

namespace KvCuda.Weights.Families;

/// <summary>Gemma 3n text.</summary>
static class Gemma3n
{
    static readonly TensorNames Table = GemmaFields.WithPerLayerInputs(GemmaFields.Names);

    static readonly TensorNames Names = Table with
    {
        Shared = new Dictionary<TensorRole, string>(Table.Shared)
        {
            [StreamProjection] = "altup_projections.{0}.weight",
            [StreamReturn] = "altup_unembed_projections.{0}.weight",
        },
        PerLayer = new Dictionary<TensorRole, string>(Table.PerLayer)
        {
            [StreamRouterNorm] = "altup.router_norm.weight",
            [StreamRouter] = "altup.modality_router.weight",
            [StreamPrediction] = "altup.prediction_coefs.weight",
            [StreamCorrection] = "altup.correction_coefs.weight",
            [StreamScale] = "altup.correct_output_scale",
            [LowRankLeft] = "laurel.linear_left.weight",
            [LowRankRight] = "laurel.linear_right.weight",
            [LowRankNorm] = "laurel.post_laurel_norm.weight",
        },
    };

    public static Family Family { get; } = new(ModelFamily.Gemma3n, "Gemma3nForCausalLM", "gemma3n_text", Names, Read,
        "final_logit_softcapping");

    public static Family Nested { get; } = Family with
    {
        Architecture = "Gemma3nForConditionalGeneration", ModelType = "gemma3n", IsNested = true,
    };

    static ModelConfig Read(FamilyFields fields)
    {
        ConfigJson config = fields.Config;
        (int layers, int heads, int kvHeads) = GemmaFields.Counts(fields, 35, 8, 2);
        int headDim = fields.CheckedHeadDim(config.Int("head_dim", 256, 1, 4096), heads);
        int window = config.Int("sliding_window", 512, 1, int.MaxValue);
        int maxPositions = config.Int("max_position_embeddings", 32768, 1, int.MaxValue);
        int[] windows = fields.WindowsByPattern(layers, window, 5), sizes = MlpSizes(config, layers);
        double[] sparsity = Sparsity(config, layers);
        ModelConfig model = GemmaFields.Base(fields, [.. windows.Select((w, i) => new LayerConfig(heads, kvHeads, headDim, sizes[i])
        {
            Window = w, Rope = w > 0 ? 1 : 0, GateThreshold = sparsity[i] > 0 ? (float)Normal.Quantile(sparsity[i]) : null,
        })], GemmaFields.Ropes(fields, headDim, maxPositions), 262400, 2048, 32768, window);
        int streams = config.Int("altup_num_inputs", 4, 1, 64);
        return model with
        {
            HeadNorm = HeadNorm.BeforeRope,
            ValueNorm = true,
            LogitCap = fields.Cap("final_logit_softcapping", 30),
            PerLayerInputs = GemmaFields.Inputs(fields, model.Vocabulary)
                ?? throw config.Wrong("hidden_size_per_layer_input is 0, but Gemma 3n has per-layer inputs"),
            AltUp = new(streams, config.Int("altup_active_idx", 0, 0, streams - 1), config.Bool("altup_correct_scale", true),
                config.Int("laurel_rank", 64, 1, FamilyFields.MaxSize)),
            SharedTailLayers = config.Int("num_kv_shared_layers", 15, 0, FamilyFields.MaxLayers),
        };
    }

    static int[] MlpSizes(ConfigJson config, int layers)
    {
        if (config.Find("intermediate_size") is not { ValueKind: JsonValueKind.Array } list)
        {
            return [.. Enumerable.Repeat(config.Int("intermediate_size", 16384, 1, FamilyFields.MaxSize), layers)];
        }
        int[] sizes = [.. list.EnumerateArray().Select(item => item.ValueKind == JsonValueKind.Number && item.TryGetInt32(out int size)
            && size is > 0 and <= FamilyFields.MaxSize
                ? size : throw config.Wrong("intermediate_size", list, "a size, or a list of one per layer"))];
        return sizes.Length == layers ? sizes
            : throw config.Wrong($"intermediate_size has {sizes.Length} entries for {layers} layers");
    }

    // Without a list the first ten layers of a deep model keep 5 % of their gates.
    static double[] Sparsity(ConfigJson config, int layers)
    {
        if (config.Find("activation_sparsity_pattern") is not { } stated)
        {
            return [.. Enumerable.Range(0, layers).Select(layer => layers > 10 && layer < 10 ? 0.95 : 0)];
        }
        if (stated.ValueKind == JsonValueKind.Number && stated.TryGetDouble(out double all) && all is >= 0 and < 1)
        {
            return [.. Enumerable.Repeat(all, layers)];
        }
        double[] list = stated.ValueKind != JsonValueKind.Array ? [-1] : [.. stated.EnumerateArray()
            .Select(item => item.ValueKind == JsonValueKind.Number && item.TryGetDouble(out double share) ? share : -1)];
        if (list.Any(share => share is not (>= 0 and < 1)))
        {
            throw config.Wrong("activation_sparsity_pattern", stated, "a list of shares from 0 to below 1");
        }
        return list.Length == layers ? list
            : throw config.Wrong($"activation_sparsity_pattern has {list.Length} entries for {layers} layers");
    }
}
