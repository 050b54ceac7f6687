// Result files, schema version 1: machine, command and cells as JSON, and a journal from which a run goes on.
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace KvCuda.Study;

/// <summary>Where and how figures came about.</summary>
/// <param name="Processor">its name</param>
/// <param name="Stepping">family-model-stepping</param>
/// <param name="InstructionSets">what .NET uses</param>
/// <param name="Cores">logical processors</param>
/// <param name="Threads">that computed</param>
/// <param name="Runtime">.NET's version</param>
/// <param name="Commit">what was checked out; + where files differed</param>
/// <param name="Device">cpu, or the GPU</param>
internal sealed record MachineInfo(
    string Processor, string Stepping, string InstructionSets, int Cores, int Threads, string Runtime, string Commit, string Device)
{
    public static MachineInfo Here(int threads, string device) => new(Machine.Processor, Machine.Stepping, Machine.InstructionSets,
        Environment.ProcessorCount, threads == 0 ? Environment.ProcessorCount : threads,
        System.Runtime.InteropServices.RuntimeInformation.FrameworkDescription, Machine.Commit, device);
}

/// <summary>A result file.</summary>
/// <param name="Schema">kvcuda.results/1</param>
/// <param name="Machine">where</param>
/// <param name="Command">what reprints it</param>
/// <param name="Date">day, UTC</param>
/// <param name="Cells">the figures</param>
internal sealed record ResultSet(string Schema, MachineInfo Machine, string Command, string Date, IReadOnlyList<Cell> Cells)
{
    public const string Version = "kvcuda.results/1";

    static readonly JsonSerializerOptions json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
        WriteIndented = false,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    };

    public static ResultSet Of(MachineInfo machine, string command, IReadOnlyList<Cell> cells) =>
        new(Version, machine, command, DateTime.UtcNow.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture), cells);

    /// <summary>One cell a line, so that two files can be compared by eye.</summary>
    public string Json()
    {
        string head = JsonSerializer.Serialize(this with { Cells = [] }, json);
        int at = head.LastIndexOf("[]", StringComparison.Ordinal);
        string cells = string.Join(",\n", Cells.Select(cell => JsonSerializer.Serialize(cell, json)));
        return $"{head[..at]}[\n{cells}\n]}}\n";
    }

    /// <summary>Reads a file of this schema.</summary>
    /// <exception cref="InvalidRequestException">It is another file.</exception>
    public static ResultSet Load(string path)
    {
        try
        {
            ResultSet? read = JsonSerializer.Deserialize<ResultSet>(File.ReadAllBytes(path), json);
            return read is { Schema: Version, Cells: not null, Machine: not null } ? read : throw new InvalidRequestException(
                $"{path} is not a result file of this version: its schema is '{read?.Schema}', {Version} is needed.");
        }
        catch (JsonException error)
        {
            throw new InvalidRequestException($"{path} is not a result file: {error.Message}");
        }
        catch (IOException error)
        {
            throw new InvalidRequestException($"{path} cannot be read: {error.Message}");
        }
    }

    internal static string Line(IReadOnlyList<Cell> cells) => JsonSerializer.Serialize(cells, json);

    internal static IReadOnlyList<Cell>? Parse(string line)
    {
        try
        {
            return JsonSerializer.Deserialize<Cell[]>(line, json);
        }
        catch (JsonException)
        {
            return null; // a run that was killed leaves half a line
        }
    }
}

/// <summary>
/// The cells of a run as they come, kept on disk: a run that is started again goes on where it was stopped. A line is a task, a tab
/// and the task's cells.
/// </summary>
internal sealed class Journal
{
    readonly string? path;
    readonly List<Cell> cells = [];
    readonly HashSet<string> done = [];

    /// <param name="path">a file of lines, or null: nothing is kept</param>
    /// <param name="identity">what the run depends on: a journal of another run is begun anew</param>
    public Journal(string? path, string identity)
    {
        this.path = path;
        if (path is null)
        {
            return;
        }
        string[] lines = File.Exists(path) ? File.ReadAllLines(path) : [];
        if (lines.Length == 0 || lines[0] != identity)
        {
            File.WriteAllText(path, identity + "\n");
            return;
        }
        foreach (string[] parts in lines.Skip(1).Select(line => line.Split('\t', 2)))
        {
            if (parts.Length == 2 && ResultSet.Parse(parts[1]) is { } some && done.Add(parts[0]))
            {
                cells.AddRange(some);
            }
        }
    }

    public IReadOnlyList<Cell> Cells => cells;

    public bool IsDone(string task) => done.Contains(task);

    /// <summary>Keeps all cells of a task at once.</summary>
    public void Add(string task, IReadOnlyList<Cell> some)
    {
        cells.AddRange(some);
        done.Add(task);
        if (path is not null)
        {
            File.AppendAllText(path, $"{task}\t{ResultSet.Line(some)}\n");
        }
    }
}
