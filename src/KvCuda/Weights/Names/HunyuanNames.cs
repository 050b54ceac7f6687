using static KvCuda.Weights.TensorRole;

namespace KvCuda.Weights.Names;

/// <summary>Llama's names and two head norms.</summary>
static class HunyuanNames
{
    public static readonly TensorNames Table = LlamaNames.Table with
    {
        PerLayer = new Dictionary<TensorRole, string>(LlamaNames.Table.PerLayer)
        {
            [QueryNorm] = "self_attn.query_layernorm.weight",
            [KeyNorm] = "self_attn.key_layernorm.weight",
        },
    };
}
