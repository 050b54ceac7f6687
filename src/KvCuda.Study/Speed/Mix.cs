// A mix of prompt and generated tokens, as the papers write it: 512+1024.
using System.Globalization;

namespace KvCuda.Study;

/// <summary>Every sequence has this prompt and generates this many tokens.</summary>
/// <param name="Prompt">tokens given</param>
/// <param name="Generate">tokens generated</param>
internal readonly record struct Mix(int Prompt, int Generate)
{
    /// <summary>The four of LCKV and of the study.</summary>
    public static IReadOnlyList<Mix> Papers { get; } = [new(5, 2043), new(512, 512), new(512, 1024), new(2048, 2048)];

    public int Total => Prompt + Generate;

    /// <summary>Understands 512+1024.</summary>
    public static Mix Parse(string text)
    {
        string[] parts = text.Split('+');
        return parts.Length == 2 && int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out int prompt)
            && int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out int generate) && prompt > 0 && generate > 0
            ? new(prompt, generate)
            : throw new InvalidRequestException($"'{text}' is not a mix; write prompt and generated tokens as 512+1024.");
    }

    /// <summary>The papers' mixes, shortened in proportion where the context is shorter than 4096.</summary>
    public static IReadOnlyList<Mix> For(int context) =>
    [
        .. Papers.Select(mix => context >= 4096 ? mix : mix.Prompt == 5
            ? new Mix(5, Math.Min(2043, context - 5))
            : new Mix(Math.Max(1, (int)((long)mix.Prompt * Math.Min(context, 4096) / 4096)),
                Math.Max(1, (int)((long)mix.Generate * Math.Min(context, 4096) / 4096)))).Distinct(),
    ];

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Prompt}+{Generate}");
}

/// <summary>The time that a mix takes, from steps measured at a few lengths.</summary>
internal static class Integral
{
    /// <summary>Lengths at which steps are measured: both ends and three between.</summary>
    public static int[] Lengths(Mix mix) => [.. Enumerable.Range(0, 5).Select(i => mix.Prompt + (int)((long)(mix.Generate - 1) * i / 4)).Distinct()];

    /// <summary>Seconds of all steps of a mix: the trapezium rule over the measured lengths.</summary>
    /// <param name="points">length and seconds of a step there, ascending</param>
    /// <param name="from">first length</param>
    /// <param name="steps">how many</param>
    public static double Seconds(IReadOnlyList<(int Length, double Seconds)> points, int from, int steps)
    {
        double total = 0;
        for (int step = 0; step < steps; step++)
        {
            total += At(points, from + step);
        }
        return total;
    }

    static double At(IReadOnlyList<(int Length, double Seconds)> points, double length)
    {
        if (points.Count == 1)
        {
            return points[0].Seconds;
        }
        int i = 1;
        while (i < points.Count - 1 && points[i].Length < length)
        {
            i++;
        }
        (int l0, double s0) = points[i - 1];
        (int l1, double s1) = points[i];
        return s0 + ((s1 - s0) * (length - l0) / Math.Max(1, l1 - l0));
    }
}
