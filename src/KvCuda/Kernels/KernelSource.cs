using System.Diagnostics.CodeAnalysis;
using System.Text;

namespace KvCuda.Kernels;

/// <summary>
/// One function to compile: a file under kernels/ and the constants that are baked into it. The function is named as the
/// file; its one argument is the struct <c>RmsNormArgs</c> for <c>rms_norm.cu</c>.
/// </summary>
internal abstract class KernelSource
{
    private protected KernelSource(string path, ReadOnlySpan<(string Name, object Value)> constants)
    {
        if (path.Contains('\\', StringComparison.Ordinal) || !path.EndsWith(".cu", StringComparison.Ordinal))
        {
            throw new ArgumentException($"A kernel's path is written as 'norm/rms_norm.cu', not '{path}'.", nameof(path));
        }
        Path = "kernels/" + path;
        Entry = System.IO.Path.GetFileNameWithoutExtension(path);
        string[] defines = new string[constants.Length];
        for (int i = 0; i < defines.Length; i++)
        {
            defines[i] = $"{constants[i].Name}={constants[i].Value}";
        }
        Defines = defines;
    }

    /// <summary>The file, from the repository's root: "kernels/norm/rms_norm.cu".</summary>
    public string Path { get; }

    /// <summary>The function's name, which is the file's: "rms_norm".</summary>
    public string Entry { get; }

    /// <summary>The baked constants, as "DIM=64".</summary>
    public IReadOnlyList<string> Defines { get; }

    /// <summary>What this variant may cost, where that differs from <see cref="IKernel.Budget"/>.</summary>
    public KernelBudget? Budget { get; init; }

    /// <summary>The proof, in CUDA, that the host's struct is the kernel's.</summary>
    public abstract string Contract { get; }

    /// <summary>"rms_norm DIM=64 WARPS=4": the variant's name in tables and messages.</summary>
    public override string ToString() => new StringBuilder(Entry).Append(Defines.Count > 0 ? " " : "").AppendJoin(' ', Defines).ToString();
}

/// <summary>A <see cref="KernelSource"/> whose argument is <typeparamref name="TArgs"/>.</summary>
/// <param name="path">the file under kernels/: "norm/rms_norm.cu"</param>
/// <param name="constants">what is baked: integers, or text such as a type's name</param>
internal sealed class KernelSource<[DynamicallyAccessedMembers(ArgsContract.Fields)] TArgs>(
    string path, params ReadOnlySpan<(string Name, object Value)> constants)
    : KernelSource(path, constants)
    where TArgs : unmanaged
{
    public override string Contract => ArgsContract.For<TArgs>(Entry);
}
