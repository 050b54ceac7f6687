namespace KvCuda.Tensors;

/// <summary>The MLP of one expert: Down(activation(Gate x) * Up x).</summary>
/// <param name="Gate">(size, hidden)</param>
/// <param name="Up">(size, hidden)</param>
/// <param name="Down">(hidden, size)</param>
internal readonly record struct ExpertWeights(Tensor Gate, Tensor Up, Tensor Down);
