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

    /// <summary>The weights lie as this format says.</summary>
    public static void Format(in Tensor tensor, WeightFormat format,
        [CallerArgumentExpression(nameof(tensor))] string operand = "", [CallerMemberName] string verb = "")
    {
        if (tensor.Format != format)
        {
            throw new ArgumentException($"{verb}: {operand} ({tensor.Name}) is {tensor.Format.Name}, expected {format.Name}.");
        }
    }

    /// <summary>y = x · weightᵀ (+ bias) fits together.</summary>
    public static void Product(in Tensor y, in Tensor x, in Tensor weight, in Tensor bias, [CallerMemberName] string verb = "")
    {
        Shape(weight, y.Columns, x.Columns, verb: verb);
        Shape(y, x.Rows, weight.Rows, verb: verb);
        Type(y, DType.F32, verb: verb);
        Type(x, DType.F32, verb: verb);
        if (!bias.IsNone)
        {
            Shape(bias, 1, weight.Rows, verb: verb);
        }
    }

    /// <summary>Where rows slide, their spans and their second query are there and of the shape of the rows.</summary>
    public static void Streams(in BatchRows rows, in Tensor q, in Tensor sinkQuery, [CallerMemberName] string verb = "")
    {
        if (!rows.Streams.IsNone)
        {
            Shape(rows.Streams.Spans, rows.Count, 2, verb: verb);
            Shape(sinkQuery, rows.Count, q.Columns, verb: verb);
            Type(sinkQuery, DType.F32, verb: verb);
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
