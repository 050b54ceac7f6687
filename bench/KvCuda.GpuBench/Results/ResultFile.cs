using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace KvCuda.GpuBench;

/// <summary>
/// The results of one device: FOLDER/GPU.json, and GPU.md made of it. Sections are written one by one, by separate
/// processes, so whatever ends a run leaves what came before; both files are replaced whole, never half written.
/// </summary>
internal sealed class ResultFile
{
    static readonly JsonSerializerOptions indented = new() { WriteIndented = true };

    readonly string path; // without extension
    readonly JsonObject root;

    ResultFile(string path, JsonObject root) => (this.path, this.root) = (path, root);

    public JsonObject Root => root;

    /// <summary>The results of a device so far, or none yet.</summary>
    public static ResultFile Open(string folder, string device)
    {
        Directory.CreateDirectory(folder);
        string path = Path.Combine(folder, string.Concat(device.Select(c => char.IsLetterOrDigit(c) ? c : '-')));
        JsonObject root = new();
        if (File.Exists(path + ".json"))
        {
            root = JsonNode.Parse(File.ReadAllText(path + ".json"))!.AsObject();
        }
        return new(path, root);
    }

    public string MarkdownPath => path + ".md";

    /// <summary>What the run's figures are shares of; zeros before the section "ceilings" has run.</summary>
    public Ceilings Ceilings
    {
        get
        {
            JsonObject? json = root["ceilings"]?.AsObject();
            double Of(string name) => json?[name]?.GetValue<double>() ?? 0;
            return new(Of("copy_bytes_per_s"), Of("read_bytes_per_s"), Of("cublas_flops_per_s"));
        }
        set
        {
            root["ceilings"] = new JsonObject
            {
                ["copy_bytes_per_s"] = value.CopyBytesPerSecond,
                ["read_bytes_per_s"] = value.ReadBytesPerSecond,
                ["cublas_flops_per_s"] = value.CublasFlopsPerSecond,
            };
        }
    }

    /// <summary>Forgets everything: a new run begins.</summary>
    /// <param name="about">device, driver, compiler, commit</param>
    public void Begin(JsonObject about)
    {
        root.Clear();
        about["date"] = DateTime.UtcNow.ToString("yyyy-MM-dd HH:mm", CultureInfo.InvariantCulture) + " UTC";
        root["run"] = about;
        root["sections"] = new JsonObject();
        Save();
    }

    /// <summary>A section's entry, made empty: what an earlier try left is forgotten.</summary>
    public JsonObject Restart(string section)
    {
        var entry = new JsonObject { ["state"] = "begun, not finished", ["figures"] = new JsonArray() };
        Sections[section] = entry;
        return entry;
    }

    public JsonObject Sections => (root["sections"] ??= new JsonObject()).AsObject();

    /// <summary>A figure by its key, from any section.</summary>
    public JsonObject? Figure(string key) => Sections.SelectMany(s => s.Value!["figures"]!.AsArray())
        .Select(f => f!.AsObject()).FirstOrDefault(f => (string?)f["key"] == key);

    /// <summary>Replaces both files.</summary>
    public void Save()
    {
        Replace(path + ".json", root.ToJsonString(indented) + "\n");
        Replace(path + ".md", Markdown.Of(root));
    }

    static void Replace(string file, string text)
    {
        File.WriteAllText(file + ".new", text);
        File.Move(file + ".new", file, overwrite: true);
    }
}
