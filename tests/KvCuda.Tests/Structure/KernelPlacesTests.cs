using System.Text.RegularExpressions;
using KvCuda.Kernels;

namespace KvCuda.Tests.Structure;

/// <summary>One kernel is one name in its places: device code, launcher, test against a reference, bench, catalogue.</summary>
public class KernelPlacesTests
{
    // What is right, by folder of kernels/. Stored keys and values are right when their bytes are: TestKv says where they belong.
    static readonly Dictionary<string, string> references = new()
    {
        ["attention"] = "AttentionReference", ["embed"] = "RowsReference", ["kv"] = "TestKv", ["matmul"] = "MatmulReference",
        ["mlp"] = "MatmulReference", ["norm"] = "NormReference", ["rope"] = "RopeReference", ["sample"] = "SampleReference",
    };

    [Fact]
    public void Every_kernel_has_its_places()
    {
        string root = Repository.Root;
        Assert.SkipUnless(Directory.Exists(Path.Combine(root, "src")), "this is a bundle: there is no source to look at");
        string catalogue = Read("kernels", "README.md");
        var missing = new List<string>();
        string[] kernels = [.. KernelFiles.Paths.Where(path => path.EndsWith(".cu", StringComparison.Ordinal))];
        Assert.NotEmpty(kernels);
        foreach (string path in kernels)
        {
            string[] parts = path.Split('/');
            string folder = parts[1], name = Path.GetFileNameWithoutExtension(path), launcher = ArgsContract.PascalCase(name);
            string place = ArgsContract.PascalCase(folder), tests = TestsOf(place);
            Want(path, Read("src", "KvCuda", "Kernels", place, launcher + ".cs").Contains($"\"{folder}/{name}.cu\"", StringComparison.Ordinal),
                $"src/KvCuda/Kernels/{place}/{launcher}.cs does not launch it");
            Want(path, Regex.IsMatch(tests, $@"(\bnew |using \w+ = KvCuda\.Kernels\.)[\w.]*\b{launcher}[(;]"), $"tests/KvCuda.Tests/Kernels/{place} does not test it");
            Want(path, references.TryGetValue(folder, out string? reference) && tests.Contains(reference, StringComparison.Ordinal),
                $"tests/KvCuda.Tests/Kernels/{place} compares it with no reference ({reference ?? "none is named for the folder"})");
            Want(path, Read("bench", "KvCuda.GpuBench", "Kernels", place + "Kernels.cs").Contains($"\"{name}\"", StringComparison.Ordinal),
                $"bench/KvCuda.GpuBench/Kernels/{place}Kernels.cs does not measure it");
            Want(path, catalogue.Contains($"| {folder}/{name} |", StringComparison.Ordinal), "kernels/README.md does not list it");
        }
        Assert.True(missing.Count == 0, string.Join('\n', missing));

        void Want(string kernel, bool there, string complaint)
        {
            if (!there)
            {
                missing.Add($"{kernel}: {complaint}");
            }
        }

        string TestsOf(string place)
        {
            string folder = Path.Combine(root, "tests", "KvCuda.Tests", "Kernels", place);
            return Directory.Exists(folder) ? string.Concat(Directory.GetFiles(folder, "*.cs").Select(File.ReadAllText)) : "";
        }

        string Read(params string[] parts)
        {
            string file = Path.Combine([root, .. parts]);
            return File.Exists(file) ? File.ReadAllText(file) : "";
        }
    }
}
