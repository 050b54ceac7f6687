using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace KvCuda.Kernels;

/// <summary>
/// Compiled kernels on disk, one file per key. It is code that will run, so the directory is its owner's alone and is
/// ignored otherwise. Files appear by rename, whole or not at all, whatever other processes do; one whose checksum is
/// wrong is dropped and compiled again. A cache that cannot be used costs time, never an error.
///
/// A file is: 8 bytes of magic, SHA-256 of the rest, i32 length of the log, the log (UTF-8), the cubin.
/// </summary>
internal sealed class KernelCache
{
    const int Head = 8 + SHA256.HashSizeInBytes;
    const int MaxFileBytes = 64 << 20;
    static readonly TimeSpan unused = TimeSpan.FromDays(60);
    static ReadOnlySpan<byte> Magic => "KVCUBIN1"u8;

    readonly string directory;
    bool pruned;

    KernelCache(string directory) => this.directory = directory;

    /// <summary>KVCUDA_CACHE if set ("off" for none), else the user's cache folder.</summary>
    public static string? DefaultDirectory()
    {
        string? named = Environment.GetEnvironmentVariable("KVCUDA_CACHE");
        if (named is { Length: > 0 })
        {
            return named == "off" ? null : Path.GetFullPath(named);
        }
        string? root = OperatingSystem.IsWindows()
            ? Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData)
            : Environment.GetEnvironmentVariable("XDG_CACHE_HOME");
        if (string.IsNullOrEmpty(root) || !Path.IsPathRooted(root))
        {
            string home = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
            root = home.Length > 0 ? Path.Combine(home, ".cache") : null;
        }
        return root is null ? null : Path.Combine(root, "kvcuda", "kernels");
    }

    /// <summary>Opens (and makes) a cache directory; null, with the reason, if it cannot be used or trusted.</summary>
    public static KernelCache? Open(string? directory, out string? whyNot)
    {
        if (directory is null)
        {
            whyNot = "switched off";
            return null;
        }
        try
        {
            whyNot = OperatingSystem.IsWindows() ? MakeOnWindows(directory) : MakeOwnersOnly(directory);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException or ArgumentException)
        {
            whyNot = e.Message;
        }
        return whyNot is null ? new(directory) : null;
    }

    /// <summary>What was stored under the key, if it is whole.</summary>
    public CompiledKernel? TryRead(string key)
    {
        string path = Path.Combine(directory, key);
        try
        {
            var file = new FileInfo(path);
            if (!file.Exists || file.LinkTarget is not null || file.Length > MaxFileBytes)
            {
                return null;
            }
            if (Decode(File.ReadAllBytes(path)) is { } kernel)
            {
                if (DateTime.UtcNow - file.LastWriteTimeUtc > unused / 2)
                {
                    file.LastWriteTimeUtc = DateTime.UtcNow;
                }
                return kernel;
            }
            file.Delete();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Another process may be pruning or replacing the file: compiling again is always right.
        }
        return null;
    }

    /// <summary>Stores a result; a full or read-only disk is not an error.</summary>
    public void Write(string key, CompiledKernel kernel)
    {
        string temporary = Path.Combine(directory, $"{key}.{Guid.NewGuid():N}.tmp");
        try
        {
            Prune();
            File.WriteAllBytes(temporary, Encode(kernel));
            File.Move(temporary, Path.Combine(directory, key), overwrite: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            TryDelete(temporary);
        }
    }

    static byte[] Encode(CompiledKernel kernel)
    {
        byte[] log = Encoding.UTF8.GetBytes(kernel.Log);
        byte[] file = new byte[Head + 4 + log.Length + kernel.Cubin.Length];
        Magic.CopyTo(file);
        Span<byte> body = file.AsSpan(Head);
        BinaryPrimitives.WriteInt32LittleEndian(body, log.Length);
        log.CopyTo(body[4..]);
        kernel.Cubin.CopyTo(body[(4 + log.Length)..]);
        SHA256.HashData(body, file.AsSpan(Magic.Length));
        return file;
    }

    static CompiledKernel? Decode(byte[] file)
    {
        if (file.Length < Head + 4 || !file.AsSpan(0, Magic.Length).SequenceEqual(Magic))
        {
            return null;
        }
        ReadOnlySpan<byte> body = file.AsSpan(Head);
        if (!SHA256.HashData(body).AsSpan().SequenceEqual(file.AsSpan(Magic.Length, SHA256.HashSizeInBytes)))
        {
            return null;
        }
        int log = BinaryPrimitives.ReadInt32LittleEndian(body);
        return (uint)log > (uint)(body.Length - 4)
            ? null
            : new(body[(4 + log)..].ToArray(), Encoding.UTF8.GetString(body.Slice(4, log)), FromCache: true);
    }

    // Kernels that nothing asked for in a long time belong to an earlier version.
    void Prune()
    {
        if (pruned)
        {
            return;
        }
        pruned = true;
        foreach (string file in Directory.EnumerateFiles(directory))
        {
            if (DateTime.UtcNow - File.GetLastWriteTimeUtc(file) > unused)
            {
                TryDelete(file);
            }
        }
    }

    static void TryDelete(string file)
    {
        try
        {
            File.Delete(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Somebody else's, or already gone.
        }
    }

    // A user's profile is already closed to others there.
    static string? MakeOnWindows(string directory)
    {
        Directory.CreateDirectory(directory);
        return null;
    }

    [System.Runtime.Versioning.UnsupportedOSPlatform("windows")]
    static string? MakeOwnersOnly(string directory)
    {
        const UnixFileMode owner = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
        const UnixFileMode writable = UnixFileMode.GroupWrite | UnixFileMode.OtherWrite;
        Directory.CreateDirectory(directory, owner);
        if (new DirectoryInfo(directory).LinkTarget is not null)
        {
            return "it is a symbolic link";
        }
        UnixFileMode mode = File.GetUnixFileMode(directory);
        if ((mode & writable) != 0)
        {
            return "others may write to it";
        }
        // Only the owner (or root) may change the mode: this also finds out whose directory it is.
        File.SetUnixFileMode(directory, owner);
        return null;
    }
}
