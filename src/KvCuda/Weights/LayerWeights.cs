using KvCuda.Tensors;

namespace KvCuda.Weights;

/// <summary>The weights of one layer. What the model does not have is the default <see cref="Tensor"/> (none).</summary>
sealed class LayerWeights(Tensor[] byRole)
{
    /// <summary>(1, hidden)</summary>
    public ref readonly Tensor AttentionNorm => ref byRole[(int)TensorRole.AttentionNorm];

    /// <summary>(1, hidden), or none</summary>
    public ref readonly Tensor AttentionNormBias => ref byRole[(int)TensorRole.AttentionNormBias];

    /// <summary>(heads * headDim, hidden)</summary>
    public ref readonly Tensor Query => ref byRole[(int)TensorRole.Query];

    /// <summary>(1, heads * headDim), or none</summary>
    public ref readonly Tensor QueryBias => ref byRole[(int)TensorRole.QueryBias];

    /// <summary>(kvHeads * headDim, hidden); none in a layer that owns no keys and values</summary>
    public ref readonly Tensor Key => ref byRole[(int)TensorRole.Key];

    /// <summary>(1, kvHeads * headDim), or none</summary>
    public ref readonly Tensor KeyBias => ref byRole[(int)TensorRole.KeyBias];

    /// <summary>(kvHeads * headDim, hidden); none in a layer that owns no keys and values</summary>
    public ref readonly Tensor Value => ref byRole[(int)TensorRole.Value];

    /// <summary>(1, kvHeads * headDim), or none</summary>
    public ref readonly Tensor ValueBias => ref byRole[(int)TensorRole.ValueBias];

    /// <summary>(1, headDim), or none</summary>
    public ref readonly Tensor QueryNorm => ref byRole[(int)TensorRole.QueryNorm];

    /// <summary>(1, headDim), or none; none in a layer that owns no keys and values</summary>
    public ref readonly Tensor KeyNorm => ref byRole[(int)TensorRole.KeyNorm];

    /// <summary>(hidden, heads * headDim)</summary>
    public ref readonly Tensor Output => ref byRole[(int)TensorRole.Output];

    /// <summary>(1, hidden), or none</summary>
    public ref readonly Tensor OutputBias => ref byRole[(int)TensorRole.OutputBias];

    /// <summary>(1, hidden)</summary>
    public ref readonly Tensor MlpNorm => ref byRole[(int)TensorRole.MlpNorm];

    /// <summary>(1, hidden), or none</summary>
    public ref readonly Tensor MlpNormBias => ref byRole[(int)TensorRole.MlpNormBias];

    /// <summary>(mlp, hidden); none where the MLP is not gated</summary>
    public ref readonly Tensor Gate => ref byRole[(int)TensorRole.Gate];

    /// <summary>(1, mlp), or none</summary>
    public ref readonly Tensor GateBias => ref byRole[(int)TensorRole.GateBias];

    /// <summary>(mlp, hidden)</summary>
    public ref readonly Tensor Up => ref byRole[(int)TensorRole.Up];

    /// <summary>(1, mlp), or none</summary>
    public ref readonly Tensor UpBias => ref byRole[(int)TensorRole.UpBias];

    /// <summary>(hidden, mlp)</summary>
    public ref readonly Tensor Down => ref byRole[(int)TensorRole.Down];

    /// <summary>(1, hidden), or none</summary>
    public ref readonly Tensor DownBias => ref byRole[(int)TensorRole.DownBias];

    /// <summary>The three matrices of an expert.</summary>
    public ExpertWeights Expert(int expert) => new(byRole[ModelWeights.Indexed(TensorRole.ExpertGate, expert)],
        byRole[ModelWeights.Indexed(TensorRole.ExpertUp, expert)], byRole[ModelWeights.Indexed(TensorRole.ExpertDown, expert)]);

    /// <summary>Any of them.</summary>
    public ref readonly Tensor this[TensorRole role] => ref byRole[(int)role];
}
