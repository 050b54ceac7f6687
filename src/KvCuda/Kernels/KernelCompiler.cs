using System.Security.Cryptography;
using System.Text;
using KvCuda.Interop;

namespace KvCuda.Kernels;

/// <summary>Machine code of one kernel variant.</summary>
/// <param name="Cubin">what the driver loads</param>
/// <param name="Log">what the compiler said</param>
/// <param name="FromCache">it was compiled by an earlier run</param>
internal sealed record CompiledKernel(byte[] Cubin, string Log, bool FromCache)
{
    /// <summary>What it costs; null where the compiler does not say (the host runner).</summary>
    public KernelUsage? Usage { get; } = KernelUsage.Parse(Log);
}

/// <summary>
/// Source and baked constants to machine code of one architecture. The contracts of the argument struct and
/// of the page layout are appended to every source, so nothing compiles that computes with other bytes than C#. Safe to use from several threads at once.
/// </summary>
internal sealed class KernelCompiler
{
    readonly Nvrtc nvrtc;
    readonly KernelFiles files;
    readonly KernelCache? cache;
    readonly string identity;

    /// <param name="nvrtc">the compiler</param>
    /// <param name="architecture">"sm_90a"</param>
    /// <param name="files">the device code</param>
    /// <param name="cache">where earlier results are, or null for none</param>
    public KernelCompiler(Nvrtc nvrtc, string architecture, KernelFiles files, KernelCache? cache)
    {
        this.nvrtc = nvrtc;
        this.files = files;
        this.cache = cache;
        Architecture = architecture;
        // NVRTC is told by its version; a stand-in changes without one, so there its bytes count.
        identity = nvrtc.IsHostRunner
            ? Convert.ToHexString(SHA256.HashData(File.ReadAllBytes(nvrtc.Path)))
            : $"nvrtc {nvrtc.Version}";
    }

    public string Architecture { get; }

    /// <summary>Compiles, or takes what an earlier run compiled from the same text with the same compiler.</summary>
    /// <exception cref="DeviceException">The source is wrong; the message has the compiler's lines.</exception>
    public CompiledKernel Compile(KernelSource source)
    {
        IReadOnlyList<(string Name, string Text)> headers = files.Headers(source.Path);
        string program = files.Text(source.Path) + source.Contract +
            (headers.Any(h => h.Name == KvLayoutContract.Header) ? KvLayoutContract.Text : "");
        string[] options =
        [
            $"--gpu-architecture={Architecture}", "--std=c++17", "-default-device", "--ptxas-options=-v",
            .. source.Defines.Select(define => "-D" + define),
        ];
        string key = Key(source, program, headers, options);
        if (cache?.TryRead(key) is { } known)
        {
            return known;
        }
        byte[]? cubin = nvrtc.Compile(program, source.Path, headers, options, out string log);
        if (cubin is null && ArgsContract.IsNotUnderstood(log))
        {
            // A compiler of a later version than any that was tried: it must not keep the engine from running.
            cubin = nvrtc.Compile(files.Text(source.Path), source.Path, headers, options, out string plainLog);
            log = $"The argument struct is not proven equal to C#'s, because NVRTC {nvrtc.Version} does not understand the proof:\n{log}\n{plainLog}";
        }
        if (cubin is null)
        {
            throw new DeviceException($"{source} does not compile for {Architecture}:\n{log}");
        }
        var compiled = new CompiledKernel(cubin, log, FromCache: false);
        cache?.Write(key, compiled);
        return compiled;
    }

    string Key(KernelSource source, string program, IReadOnlyList<(string Name, string Text)> headers, string[] options)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        Add(hash, identity);
        Add(hash, source.Path);
        Add(hash, program);
        foreach ((string name, string text) in headers)
        {
            Add(hash, name);
            Add(hash, text);
        }
        foreach (string option in options)
        {
            Add(hash, option);
        }
        return $"{source.Entry}-{Convert.ToHexStringLower(hash.GetHashAndReset())}";
    }

    // Length first, so that no two lists of texts run together to the same bytes.
    static void Add(IncrementalHash hash, string text)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        hash.AppendData(BitConverter.GetBytes(bytes.Length));
        hash.AppendData(bytes);
    }
}
