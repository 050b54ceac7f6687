using KvCuda.Tensors;

namespace KvCuda.Kernels.Matmul;

/// <summary>What happens to a finished sum: the numbers of kernels/matmul/epilogue.cuh.</summary>
internal readonly record struct Epilogue(int Number)
{
    /// <summary>y = sum.</summary>
    public static Epilogue Store => new(0);

    /// <summary>y += sum.</summary>
    public static Epilogue Add => new(1);

    /// <summary>y = activation(y) * sum.</summary>
    public static Epilogue Gate(Activation activation) => new(2 + (int)activation);
}
