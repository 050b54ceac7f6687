using KvCuda.Kernels;

namespace KvCuda.Tests.Kernels;

public sealed class KernelCacheTests : IDisposable
{
    readonly string folder = Directory.CreateTempSubdirectory("kvcuda-cache-").FullName;

    string Kernels => Path.Combine(folder, "kernels");

    public void Dispose() => Directory.Delete(folder, recursive: true);

    static CompiledKernel Kernel(int seed)
    {
        byte[] cubin = new byte[1000];
        new Random(seed).NextBytes(cubin);
        return new(cubin, $"log {seed}", FromCache: false);
    }

    [Fact]
    public void What_is_written_is_read()
    {
        KernelCache cache = KernelCache.Open(Kernels, out _)!;
        cache.Write("a", Kernel(1));
        CompiledKernel read = cache.TryRead("a")!;
        Assert.Equal(Kernel(1).Cubin, read.Cubin);
        Assert.Equal("log 1", read.Log);
        Assert.Null(cache.TryRead("b"));
    }

    [Fact]
    public void The_directory_is_its_owners_alone()
    {
        if (OperatingSystem.IsWindows())
        {
            Assert.Skip("file modes are a Unix matter");
            return;
        }
        Assert.NotNull(KernelCache.Open(Kernels, out _));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(Kernels));
    }

    [Fact]
    public void A_directory_that_others_may_write_is_ignored()
    {
        if (OperatingSystem.IsWindows())
        {
            Assert.Skip("file modes are a Unix matter");
            return;
        }
        Directory.CreateDirectory(Kernels);
        File.SetUnixFileMode(Kernels, File.GetUnixFileMode(Kernels) | UnixFileMode.OtherWrite);
        Assert.Null(KernelCache.Open(Kernels, out string? whyNot));
        Assert.Equal("others may write to it", whyNot);
    }

    [Fact]
    public void A_symbolic_link_is_ignored()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "links need rights there");
        string real = Directory.CreateDirectory(Path.Combine(folder, "real")).FullName;
        Directory.CreateSymbolicLink(Kernels, real);
        Assert.Null(KernelCache.Open(Kernels, out string? whyNot));
        Assert.Equal("it is a symbolic link", whyNot);
    }

    [Fact]
    public void A_directory_that_cannot_be_made_is_no_error()
    {
        File.WriteAllText(Kernels, "a file in the way");
        Assert.Null(KernelCache.Open(Kernels, out string? whyNot));
        Assert.NotNull(whyNot);
    }

    [Fact]
    public void Many_writers_and_readers_of_one_key_see_whole_entries_only()
    {
        KernelCache cache = KernelCache.Open(Kernels, out _)!;
        byte[][] possible = [.. Enumerable.Range(0, 4).Select(i => Kernel(i).Cubin)];
        Parallel.For(0, 200, new() { MaxDegreeOfParallelism = 4 }, i =>
        {
            cache.Write("a", Kernel(i % 4));
            if (cache.TryRead("a") is { } read)
            {
                Assert.Contains(possible, p => p.AsSpan().SequenceEqual(read.Cubin));
            }
        });
        Assert.Single(Directory.GetFiles(Kernels));
    }
}
