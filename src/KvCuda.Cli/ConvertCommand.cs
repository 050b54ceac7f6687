using System.CommandLine;
using KvCuda.KvStore;
using KvCuda.Weights;

namespace KvCuda.Cli;

/// <summary>`kvcuda convert`: a model under another sharing map, as a start for fine-tuning.</summary>
internal static class ConvertCommand
{
    public static Command Create()
    {
        var source = new Argument<string>("model") { Description = "Model folder" };
        var target = new Argument<string>("out") { Description = "The model folder to write" };
        var sharing = new Option<string>("--sharing")
        {
            Description = "The layer sharing map, as in lasagna-bottom:11",
            Required = true,
        };
        var command = new Command("convert", "Write a model with another sharing map: each owner gets the mean of its readers' K/V weights")
        {
            source, target, sharing,
        };
        command.SetAction(parse =>
        {
            Run(parse.GetValue(source)!, parse.GetValue(target)!, parse.GetValue(sharing)!, parse.InvocationConfiguration.Output);
            return CommandLine.Done;
        });
        return command;
    }

    static void Run(string source, string target, string text, TextWriter output)
    {
        ModelConfig config = ModelConfig.Load(source);
        LayerSharing before = ModelSharing.Native(config), after = ModelSharing.Asked(config, text);
        if (before.Equals(after))
        {
            throw new InvalidRequestException($"{source} has the layer sharing {after} already.");
        }
        using SafetensorsModel files = SafetensorsModel.Open(source);
        ModelFolderWriter.Create(target);
        ConvertedModel.Write(files, target, config, before.Target, after.Owns, after.Readers);
        (string map, int window) = ModelSharing.ForConfig(config, after);
        ModelFolderWriter.WriteConfig(Path.Combine(source, "config.json"), target, config, null, map, window);
        ModelFolderWriter.CopyTokenizer(source, target);
        output.WriteLine($"{target}: {after.Name ?? after.ToString()}, {after.Owners.Count} of {after.Layers} layers own keys and values");
        output.WriteLine(after.IsStandard
            ? "Every layer has a copy of the keys' and values' weights that it read before."
            : "Averaged weights are a start for fine-tuning, not a finished model: expect worse text until it is trained.");
    }
}
