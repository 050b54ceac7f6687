// A build of the command as a child that gives samples when asked, and sleeps while others are measured.
using System.Diagnostics;
using System.Text.Json;

namespace KvCuda.Study;

/// <summary>
/// The lines between `compare` and its children. Parent: a benchmark's name, or "list", "static", "kernels [NAME]". Child: one line of JSON.
/// A child that is not asked sleeps on its standard input, so that builds never run at the same time.
/// </summary>
internal static class BenchChild
{
    /// <summary>What `kvcuda bench --child` does: answers until its input ends.</summary>
    public static int Serve(string model, int threads, TextReader input, TextWriter output)
    {
        using var set = new BenchmarkSet(model, threads);
        while (input.ReadLine() is { } line)
        {
            object reply = line switch
            {
                "list" => set.All.Select(benchmark => benchmark.Name),
                "static" => StaticCounts.Of(set),
                _ when line.StartsWith("kernels", StringComparison.Ordinal) => StaticCounts.OfKernels(line["kernels".Length..].Trim() is { Length: > 0 } filter ? filter : null, model),
                _ => set.All.First(benchmark => benchmark.Name == line).Sample(),
            };
            output.WriteLine(JsonSerializer.Serialize(reply));
            output.Flush();
        }
        return 0;
    }
}

/// <summary>The parent's end of a child.</summary>
internal sealed class BenchProcess : IDisposable
{
    readonly Process process;
    readonly string build;

    /// <param name="build">a folder with KvCuda.Cli.dll, that file, or an executable</param>
    /// <param name="model">a model folder</param>
    /// <param name="threads">of the CPU backend</param>
    public BenchProcess(string build, string model, int threads)
    {
        this.build = build;
        string program = Program(build);
        bool managed = program.EndsWith(".dll", StringComparison.Ordinal);
        var start = new ProcessStartInfo(managed ? "dotnet" : program) { RedirectStandardInput = true, RedirectStandardOutput = true };
        if (managed)
        {
            start.ArgumentList.Add(program);
        }
        foreach (string argument in new[] { "bench", model, "--child", "--threads", $"{threads}" })
        {
            start.ArgumentList.Add(argument);
        }
        process = Process.Start(start)!;
    }

    /// <exception cref="InvalidRequestException">There is no command there.</exception>
    public static string Program(string build)
    {
        if (File.Exists(build))
        {
            return Path.GetFullPath(build);
        }
        string[] tried =
        [
            Path.Combine(build, "KvCuda.Cli.dll"), Path.Combine(build, "src/KvCuda.Cli/bin/Release/net10.0/KvCuda.Cli.dll"), Path.Combine(build, "kvcuda"),
        ];
        return tried.FirstOrDefault(File.Exists) is { } found ? Path.GetFullPath(found) : throw new InvalidRequestException(
            $"There is no build of the command in {build}: looked for {string.Join(", ", tried)}.");
    }

    public T Ask<T>(string line)
    {
        process.StandardInput.WriteLine(line);
        process.StandardInput.Flush();
        string reply = process.StandardOutput.ReadLine()
            ?? throw new DeviceException($"The build in {build} ended at '{line}'; it may be older than `kvcuda bench --child`.");
        return JsonSerializer.Deserialize<T>(reply)!;
    }

    public void Dispose()
    {
        process.StandardInput.Close();
        if (!process.WaitForExit(10_000))
        {
            process.Kill();
        }
        process.Dispose();
    }
}
