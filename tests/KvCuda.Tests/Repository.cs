using System.Runtime.CompilerServices;

namespace KvCuda.Tests;

/// <summary>Where the checkout lies: tests read its models and its own sources.</summary>
internal static class Repository
{
    public static string Root { get; } = AboveProgram() ?? Path.GetFullPath(Path.Combine(Here(), "..", ".."));

    public static string Golden(string name) => Path.Combine(Root, "tests", "KvCuda.Tests", "Golden", name);

    public static string Demo => Path.Combine(Root, "weights", "demo");

    // An unpacked bundle lies elsewhere than the sources it was built from.
    static string? AboveProgram()
    {
        string? folder = AppContext.BaseDirectory;
        while (folder is not null && !File.Exists(Path.Combine(folder, "KvCuda.sln")))
        {
            folder = Path.GetDirectoryName(folder);
        }
        return folder;
    }

    static string Here([CallerFilePath] string path = "") => Path.GetDirectoryName(path)!;
}
