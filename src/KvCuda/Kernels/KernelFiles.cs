using System.Reflection;
using System.Text;
using System.Text.RegularExpressions;

namespace KvCuda.Kernels;

/// <summary>
/// The device code: text by path, from the assembly's resources or from a table. A kernel includes files by their path
/// under kernels/, in quotes; everything else is refused, because the compiler comes without any header.
/// </summary>
internal sealed partial class KernelFiles
{
    readonly Func<string, string?> read;

    KernelFiles(Func<string, string?> read) => this.read = read;

    /// <summary>What was built into this assembly.</summary>
    public static KernelFiles Embedded { get; } = new(ReadResource);

    /// <summary>Texts by path ("kernels/norm/rms_norm.cu"); what the table lacks comes from the assembly.</summary>
    public static KernelFiles From(IReadOnlyDictionary<string, string> texts) =>
        new(path => texts.TryGetValue(path, out string? text) ? text : ReadResource(path));

    /// <summary>The paths of every embedded file.</summary>
    public static IEnumerable<string> Paths => Assembly.GetExecutingAssembly().GetManifestResourceNames()
        .Where(name => name.StartsWith("kernels/", StringComparison.Ordinal)).Order(StringComparer.Ordinal);

    /// <summary>A file's text.</summary>
    public string Text(string path) => read(path) ?? throw new DeviceException(
        $"{path} is not part of this build of KvCuda. It has: {string.Join(", ", Paths)}");

    /// <summary>
    /// Every file that a program includes, directly or not, each once: the name it is included by, and its text, which
    /// says its own path so that messages name the repository's file.
    /// </summary>
    public IReadOnlyList<(string Name, string Text)> Headers(string path)
    {
        var headers = new SortedDictionary<string, string>(StringComparer.Ordinal);
        Collect(path, headers);
        return [.. headers.Select(h => (h.Key, $"#line 1 \"kernels/{h.Key}\"\n{h.Value}"))];
    }

    void Collect(string path, SortedDictionary<string, string> headers)
    {
        foreach (Match include in Include().Matches(Text(path)))
        {
            string name = include.Groups["name"].Value;
            if (name.Length == 0 || read("kernels/" + name) is not { } text)
            {
                throw new DeviceException($"{path}: '{include.Value.Trim()}' names no file under kernels/. " +
                    "Kernels include their own files only, as in #include \"shared/warp.cuh\".");
            }
            if (headers.TryAdd(name, text))
            {
                Collect("kernels/" + name, headers);
            }
        }
    }

    static string? ReadResource(string path)
    {
        using Stream? stream = Assembly.GetExecutingAssembly().GetManifestResourceStream(path);
        if (stream is null)
        {
            return null;
        }
        using var reader = new StreamReader(stream, Encoding.UTF8);
        return reader.ReadToEnd();
    }

    [GeneratedRegex("""^[ \t]*#[ \t]*include\b[ \t]*(?:"(?<name>[^"\n]+)")?.*$""", RegexOptions.Multiline)]
    private static partial Regex Include();
}
