using System.Globalization;

namespace KvCuda.Cli;

/// <summary>Numbers as people read them.</summary>
internal static class Figures
{
    /// <summary>22,528</summary>
    public static string Whole(long number) => number.ToString("N0", CultureInfo.InvariantCulture);

    /// <summary>1.10 billion, 1.5 million, 12,345</summary>
    public static string Count(long number) => number switch
    {
        >= 1_000_000_000 => $"{number / 1e9:F2} billion",
        >= 1_000_000 => $"{number / 1e6:F1} million",
        _ => Whole(number),
    };

    /// <summary>2.05 GiB, 22.0 KiB, 512 bytes</summary>
    public static string Bytes(long bytes) => bytes switch
    {
        >= 1L << 30 => $"{bytes / (double)(1L << 30):F2} GiB",
        >= 1L << 20 => $"{bytes / (double)(1L << 20):F1} MiB",
        >= 1L << 10 => $"{bytes / (double)(1L << 10):F1} KiB",
        _ => $"{bytes} bytes",
    };
}
