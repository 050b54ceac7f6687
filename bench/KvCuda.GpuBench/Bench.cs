using System.Globalization;
using System.Text.Json.Nodes;
using KvCuda.Backends;
using KvCuda.Backends.Cuda;
using KvCuda.Interop;

namespace KvCuda.GpuBench;

/// <summary>What a section works with: the device, models, this run's ceilings, and where figures go.</summary>
internal sealed class Bench(BenchOptions options, CudaLibraries libraries, ResultFile file)
{
    JsonObject entry = [];

    public BenchOptions Options => options;

    public CudaLibraries Libraries => libraries;

    public ResultFile File => file;

    /// <summary>Sizes that the host runner gets through: only to see that everything works.</summary>
    public bool Tiny => options.Tiny;

    public BenchModels Models { get; } = new(options.Work, options.Device);

    /// <summary>What shares are shares of.</summary>
    public Ceilings Ceilings => file.Ceilings;

    public CudaBackend Open(Numerics numerics = Numerics.Fast) => CudaBackend.Open(options.Device, numerics);

    /// <summary>Runs one section; an error ends it alone, and stands in the results.</summary>
    /// <returns>true if it came to its end</returns>
    public bool Run(Section section)
    {
        entry = file.Restart(section.Name);
        file.Save();
        long start = Environment.TickCount64;
        string state = "done";
        try
        {
            section.Run!(this);
        }
        catch (Exception e) when (e is KvCudaException or IOException or InvalidOperationException or ArgumentException)
        {
            state = $"failed: {e.Message.Split('\n')[0]}";
            Console.Error.WriteLine($"{section.Name}: {e}");
        }
        entry["state"] = state;
        entry["seconds"] = (Environment.TickCount64 - start) / 1000.0;
        file.Save();
        return state == "done";
    }

    /// <summary>Keeps a figure: the files have it before the next one is measured.</summary>
    public void Add(Figure figure)
    {
        JsonObject json = figure.Json(Ceilings);
        entry["figures"]!.AsArray().Add((JsonNode)json);
        file.Save();
        string shares = string.Join(", ", new[] { "of_copy", "of_read", "of_cublas" }.Where(name => json[name] is not null)
            .Select(name => string.Create(CultureInfo.InvariantCulture, $"{json[name]!.GetValue<double>():F2} {name.Replace('_', ' ')}")));
        string verdict = figure.Target is { } t
            ? string.Create(CultureInfo.InvariantCulture, $"  [{(figure.Of.Length == 0 ? figure.Value : figure.Share):F2}{(figure.Of.Length == 0 ? "" : " of " + figure.Of)}, aim {t.Credible} / {t.Ambitious}: {json["verdict"]}]")
            : "";
        Console.WriteLine($"  {figure.What,-58} {Markdown.Number(figure.Value),10} {figure.Unit,-9} {shares}{verdict}");
    }
}
