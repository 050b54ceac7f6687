using static KvCuda.Weights.TensorRole;

namespace KvCuda.Weights.Names;

/// <summary>Llama's names and two head norms.</summary>
static class Qwen3Names
{
    public static readonly TensorNames Table = LlamaNames.Table with
    {
        PerLayer = new Dictionary<TensorRole, string>(LlamaNames.Table.PerLayer)
        {
            [QueryNorm] = "self_attn.q_norm.weight",
            [KeyNorm] = "self_attn.k_norm.weight",
        },
    };
}
