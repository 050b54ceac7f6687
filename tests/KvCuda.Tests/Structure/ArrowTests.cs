using System.Text.RegularExpressions;

namespace KvCuda.Tests.Structure;

/// <summary>The layers of the library know only those below them.</summary>
public partial class ArrowTests
{
    static readonly Dictionary<string, string[]> mayUse = new()
    {
        ["Tensors"] = [],
        ["Interop"] = [],
        ["Weights"] = ["Tensors"],
        ["Text"] = ["Tensors"],
        ["KvStore"] = ["Tensors"],
        ["Gpu"] = ["Tensors", "Interop"],
        ["Kernels"] = ["Tensors", "Interop", "Gpu"],
        ["Backends"] = ["Tensors", "Interop", "Gpu", "Kernels"],
        ["Model"] = ["Tensors", "Backends", "Weights", "KvStore"],
        ["Engine"] = ["Tensors", "Backends", "Weights", "KvStore", "Model", "Text"],
    };

    [Fact]
    public void Arrows_run_one_way()
    {
        List<string> wrong = [];
        string library = Path.Combine(Repository.Root, "src", "KvCuda");
        foreach (string file in Directory.EnumerateFiles(library, "*.cs", SearchOption.AllDirectories))
        {
            string path = Path.GetRelativePath(library, file);
            string layer = path.Split(Path.DirectorySeparatorChar)[0];
            if (!mayUse.TryGetValue(layer, out string[]? allowed))
            {
                continue; // files at the root, and build output
            }
            foreach (Match match in Using().Matches(File.ReadAllText(file)))
            {
                string used = match.Groups[1].Value;
                if (used != layer && !allowed.Contains(used))
                {
                    wrong.Add($"{path} uses {used}; {layer} may use: {(allowed.Length == 0 ? "nothing" : string.Join(", ", allowed))}");
                }
            }
        }
        Assert.True(wrong.Count == 0, string.Join("\n", wrong));
    }

    [GeneratedRegex(@"^using (?:static )?KvCuda\.(\w+)", RegexOptions.Multiline)]
    private static partial Regex Using();
}
