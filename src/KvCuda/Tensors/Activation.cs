namespace KvCuda.Tensors;

/// <summary>The non-linearities of the supported models.</summary>
internal enum Activation
{
    /// <summary>x / (1 + exp(-x)).</summary>
    Silu,

    /// <summary>0.5 x (1 + tanh(sqrt(2/π) (x + 0.044715 x³))): "gelu_new", "gelu_pytorch_tanh".</summary>
    GeluTanh,

    /// <summary>0.5 x (1 + erf(x / sqrt(2))): "gelu".</summary>
    Gelu,

    /// <summary>max(x, 0).</summary>
    Relu,
}
