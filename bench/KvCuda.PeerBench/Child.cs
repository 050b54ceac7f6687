using System.Diagnostics;
using System.Text.Json;
using KvCuda.Engine;

namespace KvCuda.PeerBench;

/// <summary>What a child process runs.</summary>
/// <param name="Path">a model folder, or a GGUF file</param>
/// <param name="PeerFolder">llama.cpp's shared objects; null: KvCuda runs</param>
/// <param name="Threads">that compute</param>
/// <param name="Context">longest sequence in tokens</param>
/// <param name="Numerics">fast or consistent</param>
/// <param name="Sharing">another sharing map, or null</param>
/// <param name="Weights">stored or int8</param>
internal sealed record ChildSetup(
    string Path, string? PeerFolder, int Threads, int Context, string Numerics = "fast", string? Sharing = null, string Weights = "stored");

/// <summary>One line to a child.</summary>
internal sealed record Request(string Do, int A = 0, int B = 0, int C = 0, int[]? Prompt = null);

/// <summary>One line from it.</summary>
internal sealed record Reply(double[] Numbers, string? Text = null, string? Error = null);

/// <summary>
/// An engine alone in a process. Both engines keep threads that wait for work by spinning, so two of them in one process (or two
/// that run at the same time) would take each other's cores; a child that is not asked anything sleeps on its standard input.
/// </summary>
internal static class Child
{
    /// <summary>Answers requests until standard input ends.</summary>
    public static int Serve()
    {
        ChildSetup setup = JsonSerializer.Deserialize<ChildSetup>(Console.In.ReadLine()!)!;
        IContender? contender = null;
        while (Console.In.ReadLine() is { } line)
        {
            Reply reply;
            try
            {
                reply = Answer(JsonSerializer.Deserialize<Request>(line)!, setup, ref contender);
            }
#pragma warning disable CA1031 // whatever it is, the parent prints it
            catch (Exception error)
#pragma warning restore CA1031
            {
                reply = new([], Error: error.Message);
            }
            Console.Out.WriteLine(JsonSerializer.Serialize(reply));
            Console.Out.Flush();
        }
        contender?.Dispose();
        return 0;
    }

    static Reply Answer(Request request, ChildSetup setup, ref IContender? contender)
    {
        switch (request.Do)
        {
            case "first":
                // From nothing in memory but the run time to the first token: libraries, model, compilation, prompt. Then what the
                // same prompt takes again.
                long start = Stopwatch.GetTimestamp();
                contender = Open(setup);
                double opened = Stopwatch.GetElapsedTime(start).TotalSeconds;
                contender.Generate(request.Prompt!, 0);
                double first = Stopwatch.GetElapsedTime(start).TotalSeconds;
                contender.Generate(request.Prompt!, 0);
                return new([first, opened, contender.Generate(request.Prompt!, 0).Prefill]);
            case "peak":
                return new([Machine.PeakBytes]);
        }
        contender ??= Open(setup);
        switch (request.Do)
        {
            case "describe":
                return new([], contender.Describe());
            case "generate":
                (double prefill, double decode) = contender.Generate(request.Prompt!, request.A);
                return new([prefill, decode]);
            case "at":
                return new([contender.DecodeAt(request.A, request.B)]);
            case "together":
                return new([contender.DecodeTogether(request.A, request.B, request.C)]);
            case "logits":
                return new([.. contender.Logits(request.Prompt!).Select(logit => (double)logit)]);
            case "allocations":
                return new(contender.Allocations() is { } bytes ? [bytes.Step, bytes.Streamed] : []);
            case "kv":
                return new([((OurEngine)contender).KvBytesPerToken]);
            default:
                return new([], Error: $"a child does not know '{request.Do}'");
        }
    }

    static IContender Open(ChildSetup setup) => setup.PeerFolder is { } peer
        ? new PeerEngine(peer, setup.Path, setup.Threads, Math.Min(setup.Context, 1024))
        : new OurEngine(setup.Path, new KvEngineOptions
        {
            Device = "cpu", Threads = setup.Threads, MaxContext = setup.Context, Numerics = setup.Numerics, Sharing = setup.Sharing,
            Weights = setup.Weights,
        });
}

/// <summary>The parent's end of a child.</summary>
internal sealed class ChildProcess : IDisposable
{
    readonly Process process;

    public ChildProcess(ChildSetup setup)
    {
        string self = Environment.ProcessPath!;
        var start = new ProcessStartInfo(self) { RedirectStandardInput = true, RedirectStandardOutput = true };
        if (Path.GetFileNameWithoutExtension(self) == "dotnet")
        {
            start.ArgumentList.Add(typeof(Child).Assembly.Location);
        }
        start.ArgumentList.Add("--child");
        process = Process.Start(start)!;
        process.StandardInput.WriteLine(JsonSerializer.Serialize(setup));
    }

    public int Id => process.Id;

    public Reply Ask(Request request)
    {
        process.StandardInput.WriteLine(JsonSerializer.Serialize(request));
        process.StandardInput.Flush();
        string line = process.StandardOutput.ReadLine()
            ?? throw new DeviceException($"A child of the bench ended at '{request.Do}'.");
        Reply reply = JsonSerializer.Deserialize<Reply>(line)!;
        return reply.Error is null ? reply : throw new DeviceException(reply.Error);
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
