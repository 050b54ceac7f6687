namespace KvCuda.Tensors;

/// <summary>One of several products with the same x: y = x · weightᵀ (+ bias).</summary>
/// <param name="Y">(rows, outputs) f32; none: the product is not wanted</param>
/// <param name="Weight">(outputs, inputs)</param>
/// <param name="Bias">(1, outputs), or none</param>
internal readonly record struct Projection(Tensor Y, Tensor Weight, Tensor Bias);
