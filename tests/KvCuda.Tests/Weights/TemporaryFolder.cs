using System.Text;

namespace KvCuda.Tests.Weights;

/// <summary>A folder that goes away with the test.</summary>
sealed class TemporaryFolder : IDisposable
{
    readonly string path = Directory.CreateTempSubdirectory("kvcuda-test-").FullName;

    public string this[string name] => Path.Combine(path, name);

    public override string ToString() => path;

    public string Write(string name, ReadOnlySpan<byte> bytes)
    {
        File.WriteAllBytes(this[name], bytes);
        return this[name];
    }

    public string Write(string name, string text) => Write(name, Encoding.UTF8.GetBytes(text));

    public void Dispose() => Directory.Delete(path, recursive: true);
}
