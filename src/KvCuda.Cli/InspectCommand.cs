using System.CommandLine;
using KvCuda.KvStore;
using KvCuda.Text;
using KvCuda.Text.Files;
using KvCuda.Weights;

namespace KvCuda.Cli;

/// <summary>
/// `kvcuda inspect`: what a model folder holds, and the reason if it could not be run. The report is printed as far as it
/// goes either way; a model that would be refused is exit code 1.
/// </summary>
internal static class InspectCommand
{
    public static Command Create()
    {
        var model = new Argument<string>("model") { Description = "Model folder" };
        var sharing = new Option<string?>("--sharing")
        {
            Description = "Show another layer sharing map, as in lasagna-bottom:11 (experimental)",
        };
        var json = new Option<bool>("--json") { Description = "One JSON object" };
        var tensors = new Option<bool>("--tensors") { Description = "List every tensor" };
        var command = new Command("inspect", "Layers, the sharing map drawn, KV bytes per token, tensors, tokenizer")
        {
            model, sharing, json, tensors,
        };
        command.SetAction(parse =>
        {
            using var found = new ModelFindings(parse.GetValue(model)!, parse.GetValue(sharing));
            TextWriter output = parse.InvocationConfiguration.Output;
            if (parse.GetValue(json))
            {
                InspectJson.Write(output, found);
            }
            else
            {
                InspectReport.Write(output, found, parse.GetValue(tensors));
            }
            return found.Refusal is null ? CommandLine.Done : throw found.Refusal;
        });
        return command;
    }
}

/// <summary>All that can be found out about a model folder, up to what makes it unusable.</summary>
internal sealed class ModelFindings : IDisposable
{
    public ModelFindings(string folder, string? sharing)
    {
        Folder = folder;
        if (!Directory.Exists(folder))
        {
            throw new ModelFormatException($"There is no model folder at {folder}.");
        }
        TokenizerFiles = [.. ModelFolderWriter.TokenizerFiles.Where(name => File.Exists(Path.Combine(folder, name)))];
        Try(() => Files = SafetensorsModel.Open(folder));
        Try(() => Config = ModelConfig.Load(folder));
        if (Config is ModelConfig config)
        {
            Try(() => NativeSharing = ModelSharing.Native(config));
            Try(() => Sharing = ModelSharing.Asked(config, sharing));
            if (Files is SafetensorsModel files && Sharing is LayerSharing map)
            {
                Try(() => ModelWeights.Load(files, config, map.Owns).Dispose());
            }
        }
        Try(() => Tokens = FolderTokens.Read(folder));
        if (Tokens is not null && File.Exists(Path.Combine(folder, "tokenizer.json")))
        {
            Try(() => Tokenizer = Text.Tokenizer.Load(folder));
        }
        Try(() => Ends = Tokenizer?.Ends ?? Tokens?.Ends(null) ?? []);
        Try(() => Templates = ReadTemplates(folder));
        IsOverride = sharing is not null && Sharing is not null && !Sharing.Equals(NativeSharing);
    }

    public string Folder { get; }

    public ModelConfig? Config { get; private set; }

    public SafetensorsModel? Files { get; private set; }

    /// <summary>What the config says.</summary>
    public LayerSharing? NativeSharing { get; private set; }

    /// <summary>The map that is shown.</summary>
    public LayerSharing? Sharing { get; private set; }

    /// <summary>The map shown is not the model's own.</summary>
    public bool IsOverride { get; }

    public IReadOnlyList<string> TokenizerFiles { get; }

    /// <summary>What the small files say about tokens; null if one of them is malformed.</summary>
    public FolderTokens? Tokens { get; private set; }

    public HuggingFaceTokenizer? Tokenizer { get; private set; }

    /// <summary>What ends a text.</summary>
    public IReadOnlyList<EndToken> Ends { get; private set; } = [];

    /// <summary>The chat templates by name; a template that cannot be used with its reason.</summary>
    public IReadOnlyList<(string Name, string? Problem)> Templates { get; private set; } = [];

    /// <summary>The first reason why the model could not be run; null if there is none.</summary>
    public KvCudaException? Refusal { get; private set; }

    /// <summary>Parameters that the shown map needs; a tied head counts once.</summary>
    public long Parameters => Config is null || Sharing is null
        ? 0
        : TensorList.Of(Config, Sharing.Owns).Sum(spec => spec.Shape.Count);

    /// <summary>Key and value numbers of one token in a layer, if it owns any.</summary>
    public long NumbersOf(int layer) => Config is null ? 0 : 2L * Config.LayerConfigs[layer].KvSize;

    // A template that KvCuda cannot run does not keep the model from running.
    static List<(string, string?)> ReadTemplates(string folder)
    {
        var templates = new List<(string, string?)>();
        foreach ((string name, (string source, string place)) in ChatTemplateFiles.Read(folder))
        {
            try
            {
                _ = new ChatTemplate(source, place);
                templates.Add((name, null));
            }
            catch (KvCudaException reason)
            {
                templates.Add((name, reason.Message));
            }
        }
        return templates;
    }

    void Try(Action step)
    {
        try
        {
            step();
        }
        catch (KvCudaException reason)
        {
            Refusal ??= reason;
        }
    }

    public void Dispose() => Files?.Dispose();
}
