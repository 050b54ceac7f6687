using System.CommandLine;
using KvCuda.KvStore;
using KvCuda.Weights;

namespace KvCuda.Cli;

/// <summary>`kvcuda inspect`: what a model folder holds.</summary>
internal static class InspectCommand
{
    public static Command Create()
    {
        var model = new Argument<string>("model") { Description = "Model folder" };
        var command = new Command("inspect", "Layers, the sharing map drawn, bytes per token, tensors, tokenizer") { model };
        command.SetAction(parse =>
        {
            ModelConfig config = ModelConfig.Load(parse.GetValue(model)!);
            LayerSharing sharing = LayerSharing.FromConfig(config.Layers, config.SharingWindow, config.SharingMap,
                config.ForceStrictlyEarlier, config.ClaShareFactor, config.SharedTailLayers, config.Windows);
            using ModelWeights weights = ModelWeights.Load(parse.GetValue(model)!, config, sharing.Owns);
            parse.InvocationConfiguration.Output.WriteLine($"{config.Architecture}, {config.Layers} layers, {sharing}");
            return CommandLine.Done;
        });
        return command;
    }
}
