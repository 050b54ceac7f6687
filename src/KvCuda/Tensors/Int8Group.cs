using System.Runtime.InteropServices;

namespace KvCuda.Tensors;

/// <summary>
/// 32 neighbouring numbers of a row of a quantised weight: number i is Scale * Q[i], rounded to f32. The scale is the largest
/// magnitude / 127, so no number is off by more than Scale / 2. Rows of a weight are whole groups.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct Int8Group
{
    /// <summary>As many as q8_0 of ggml has: small enough that one outlier spoils few neighbours.</summary>
    public const int Numbers = 32;

    /// <summary>1.125 per number.</summary>
    public const int Bytes = 4 + Numbers;

    public float Scale;
    public fixed sbyte Q[Numbers];
}
