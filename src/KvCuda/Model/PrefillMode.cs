using System.Globalization;

namespace KvCuda.Model;

/// <summary>How a prompt runs through a model some of whose layers look upward. Others run it in one pass in every mode.</summary>
public enum PrefillKind
{
    /// <summary>
    /// Chunk by chunk; the cyclic block is iterated until its keys and values no longer change in the bits of the store's
    /// type: the fixed point, which is what <see cref="Sequential"/> gives.
    /// </summary>
    Converged,

    /// <summary>Token by token: the definition.</summary>
    Sequential,

    /// <summary>
    /// The study's (arXiv 2410.14442): the whole prompt in one piece, a fixed number of passes from zero keys and values. An
    /// approximation, for comparison only.
    /// </summary>
    Iterative,
}

/// <summary>A prefill kind with its number of passes.</summary>
/// <param name="Kind">how</param>
/// <param name="Passes">passes of <see cref="PrefillKind.Iterative"/>: m without and b with gradient in training, m + b here</param>
public readonly record struct PrefillMode(PrefillKind Kind, int Passes = 0)
{
    /// <summary>The default.</summary>
    public static PrefillMode Converged => new(PrefillKind.Converged);

    /// <summary>Token by token.</summary>
    public static PrefillMode Sequential => new(PrefillKind.Sequential);

    /// <summary>Understands <c>converged</c>, <c>sequential</c> and <c>iterative:M+B</c> (as in <c>iterative:7+2</c>).</summary>
    /// <exception cref="InvalidRequestException">The text is none of these.</exception>
    public static PrefillMode Parse(string text)
    {
        switch (text)
        {
            case "converged":
                return Converged;
            case "sequential":
                return Sequential;
        }
        string[] parts = text.StartsWith("iterative:", StringComparison.Ordinal) ? text["iterative:".Length..].Split('+') : [];
        if (parts.Length == 2 && Small(parts[0], out int without) && Small(parts[1], out int with) && without + with > 0)
        {
            return new(PrefillKind.Iterative, without + with);
        }
        throw new InvalidRequestException(
            $"Unknown prefill mode '{text}'; known are converged, sequential and iterative:M+B (the study's is iterative:7+2).");
    }

    static bool Small(string text, out int number) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number) && number <= 1000;
}
