using System.Runtime.CompilerServices;

namespace KvCuda.Tests;

/// <summary>Where the checkout lies: tests read its models and its own sources.</summary>
internal static class Repository
{
    public static string Root { get; } = Path.GetFullPath(Path.Combine(Here(), "..", ".."));

    public static string Golden(string name) => Path.Combine(Root, "tests", "KvCuda.Tests", "Golden", name);

    public static string Demo => Path.Combine(Root, "weights", "demo");

    static string Here([CallerFilePath] string path = "") => Path.GetDirectoryName(path)!;
}
