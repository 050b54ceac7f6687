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

    /// <summary>Projects beside the library: what of it they may use, and which of each other.</summary>
    [Theory]
    [InlineData("KvCuda.Extensions", new[] { "Engine", "Text", "Statistics" }, new[] { "KvCuda", "KvCuda.Statistics" })]
    [InlineData("KvCuda.Statistics", new string[0], new string[0])]
    [InlineData("KvCuda.Server", new[] { "Engine", "Text", "Extensions" }, new[] { "KvCuda", "KvCuda.Extensions" })]
    public void Projects_around_the_library_use_its_public_face(string project, string[] layers, string[] projects)
    {
        string folder = Path.Combine(Repository.Root, "src", project);
        Assert.SkipUnless(Directory.Exists(folder), "this is a bundle: there is no source to look at");
        List<string> wrong = [];
        foreach (string file in Sources(folder))
        {
            string text = File.ReadAllText(file);
            wrong.AddRange(Using().Matches(text).Select(match => match.Groups[1].Value).Where(used => !layers.Contains(used))
                .Select(used => $"{Path.GetFileName(file)} uses {used}; {project} may use: {string.Join(", ", layers)}"));
            if (!text.Contains($"\nnamespace {project};\n", StringComparison.Ordinal))
            {
                wrong.Add($"{Path.GetFileName(file)} is not in the namespace {project}");
            }
        }
        string own = File.ReadAllText(Path.Combine(folder, project + ".csproj"));
        wrong.AddRange(ProjectReference().Matches(own).Select(match => match.Groups[1].Value).Except(projects).Select(used => $"{project} refers to {used}"));
        wrong.AddRange(PackageReference().Matches(own).Select(match => match.Groups[1].Value)
            .Where(used => !used.EndsWith(".Abstractions", StringComparison.Ordinal) && used is not ("Microsoft.Extensions.Options" or "Microsoft.ML.Tokenizers")
                && !(project == "KvCuda.Statistics" && used is "MathNet.Numerics" or "Perfolizer" or "Pragmastat"))
            .Select(used => $"{project} needs {used}, which is no package of abstractions"));
        if (File.ReadAllText(Path.Combine(Repository.Root, "src", "KvCuda", "KvCuda.csproj")).Contains($"InternalsVisibleTo Include=\"{project}\"", StringComparison.Ordinal))
        {
            wrong.Add($"the library shows {project} its internals");
        }
        Assert.True(wrong.Count == 0, string.Join("\n", wrong));
    }

    [Fact]
    public void Nothing_but_the_command_knows_the_server()
    {
        string root = Path.Combine(Repository.Root, "src");
        Assert.SkipUnless(Directory.Exists(root), "this is a bundle: there is no source to look at");
        Assert.Equal([], Directory.GetDirectories(root).Where(folder => Path.GetFileName(folder) is not ("KvCuda.Server" or "KvCuda.Cli"))
            .SelectMany(Sources).Where(file => Using().Matches(File.ReadAllText(file)).Any(match => match.Groups[1].Value == "Server")));
    }

    [Fact]
    public void Nothing_but_the_command_and_the_server_knows_the_extensions()
    {
        string root = Path.Combine(Repository.Root, "src");
        Assert.SkipUnless(Directory.Exists(root), "this is a bundle: there is no source to look at");
        Assert.Equal([], Directory.GetDirectories(root).Where(folder => Path.GetFileName(folder) is not ("KvCuda.Extensions" or "KvCuda.Cli" or "KvCuda.Server"))
            .SelectMany(Sources).Where(file => Using().Matches(File.ReadAllText(file)).Any(match => match.Groups[1].Value == "Extensions")));
    }

    static IEnumerable<string> Sources(string folder) => Directory.EnumerateFiles(folder, "*.cs", SearchOption.AllDirectories)
        .Where(file => Path.GetRelativePath(folder, file).Split(Path.DirectorySeparatorChar)[0] is not ("bin" or "obj"));

    [GeneratedRegex(@"<ProjectReference Include=""[^""]*?([\w.]+)\.csproj""")]
    private static partial Regex ProjectReference();

    [GeneratedRegex(@"<PackageReference Include=""([^""]+)""")]
    private static partial Regex PackageReference();

    [GeneratedRegex(@"^using (?:static )?KvCuda\.(\w+)", RegexOptions.Multiline)]
    private static partial Regex Using();
}
