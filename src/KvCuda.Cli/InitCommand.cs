using System.CommandLine;
using System.Diagnostics;
using KvCuda.KvStore;
using KvCuda.Tensors;
using KvCuda.Weights;

namespace KvCuda.Cli;

/// <summary>`kvcuda init`: a model folder of random weights, for benches.</summary>
internal static class InitCommand
{
    public static Command Create()
    {
        var source = new Argument<string>("config") { Description = "config.json, or a folder that has one" };
        var target = new Argument<string>("out") { Description = "The model folder to write" };
        var seed = new Option<ulong>("--seed") { Description = "Same seed, same weights", DefaultValueFactory = _ => 1 };
        var type = new Option<string?>("--dtype") { Description = "f32, f16 or bf16 (default: the config's, else bf16)" };
        var sharing = new Option<string?>("--sharing") { Description = "Another layer sharing map, as in lasagna-bottom:11" };
        var command = new Command("init", "Write a model with random weights from a config.json") { source, target, seed, type, sharing };
        command.SetAction((parse, cancel) =>
        {
            Run(parse.GetValue(source)!, parse.GetValue(target)!, parse.GetValue(seed), parse.GetValue(type),
                parse.GetValue(sharing), parse.InvocationConfiguration.Output, cancel);
            return Task.FromResult(CommandLine.Done);
        });
        return command;
    }

    static void Run(
        string source, string target, ulong seed, string? typeName, string? sharingText, TextWriter output, CancellationToken cancel)
    {
        if (Directory.Exists(source))
        {
            source = Path.Combine(source, "config.json");
        }
        ModelConfig config = ModelConfig.LoadFile(source);
        DType type = typeName is null ? config.Type ?? DType.BF16 : DTypes.Parse(typeName);
        LayerSharing sharing = ModelSharing.Asked(config, sharingText);
        ModelFolderWriter.Create(target);
        var clock = Stopwatch.StartNew();
        RandomModel.Write(target, config, sharing.Owns, type, seed, cancel);
        (string? map, int window) = sharingText is null ? (null, 0) : ModelSharing.ForConfig(config, sharing);
        ModelFolderWriter.WriteConfig(source, target, config, type, map, window);
        ModelFolderWriter.CopyTokenizer(Path.GetDirectoryName(Path.GetFullPath(source))!, target);
        long parameters = TensorList.Of(config, sharing.Owns).Sum(spec => spec.Shape.Count);
        output.WriteLine($"{target}: {Figures.Count(parameters)} random parameters ({type.Name()}, "
            + $"{Figures.Bytes(parameters * type.Bytes())}), seed {seed}, in {clock.Elapsed.TotalSeconds:F1} s");
    }
}
