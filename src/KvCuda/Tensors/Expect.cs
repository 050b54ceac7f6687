using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;

namespace KvCuda.Tensors;

/// <summary>Checks that fail in the caller's words: "MatMul: x is (4, 512), expected (4, 1024)".</summary>
internal static class Expect
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Shape(in Tensor tensor, int rows, int columns,
        [CallerArgumentExpression(nameof(tensor))] string operand = "", [CallerMemberName] string verb = "")
    {
        if (tensor.Rows != rows || tensor.Columns != columns)
        {
            ThrowShape(tensor, rows, columns, operand, verb);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Type(in Tensor tensor, DType type,
        [CallerArgumentExpression(nameof(tensor))] string operand = "", [CallerMemberName] string verb = "")
    {
        if (tensor.Type != type)
        {
            ThrowType(tensor, type, operand, verb);
        }
    }

    [DoesNotReturn, StackTraceHidden]
    static void ThrowShape(in Tensor tensor, int rows, int columns, string operand, string verb) =>
        throw new ArgumentException(
            $"{verb}: {operand} ({tensor.Name}) is ({tensor.Rows}, {tensor.Columns}), expected ({rows}, {columns}).");

    [DoesNotReturn, StackTraceHidden]
    static void ThrowType(in Tensor tensor, DType type, string operand, string verb) =>
        throw new ArgumentException(
            $"{verb}: {operand} ({tensor.Name}) is {tensor.Type.Name()}, expected {type.Name()}.");
}
