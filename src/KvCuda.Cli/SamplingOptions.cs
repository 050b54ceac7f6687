using System.CommandLine;
using KvCuda.Engine;

namespace KvCuda.Cli;

/// <summary>The options that say how tokens are chosen, and until when.</summary>
internal sealed class SamplingOptions(int maxTokens)
{
    readonly Option<int> count = new("-n", "--max-tokens") { Description = "Most tokens to generate.", DefaultValueFactory = _ => maxTokens };
    readonly Option<float> temperature = new("--temperature") { Description = "0 is greedy." };
    readonly Option<int> topK = new("--top-k") { Description = "Draw from so many likeliest tokens; 0 is all." };
    readonly Option<float> topP = new("--top-p") { Description = "Draw from the likeliest tokens of this total probability.", DefaultValueFactory = _ => 1 };
    readonly Option<float> minP = new("--min-p") { Description = "Draw only tokens of at least this share of the likeliest one's probability." };
    readonly Option<float> penalty = new("--repetition-penalty") { Description = "Above 1 discourages tokens already seen.", DefaultValueFactory = _ => 1 };
    readonly Option<ulong?> seed = new("--seed") { Description = "Same seed, same text." };
    readonly Option<string[]> stop = new("--stop") { Description = "A text that ends the generation; may be given several times." };
    readonly Option<bool> ignoreEos = new("--ignore-eos") { Description = "Go on after the end-of-sequence token." };
    readonly Option<string> whenFull = new("--when-full")
    {
        Description = "At the end of the context: stop, or slide (forget all but sinks and window, and go on at constant memory).",
        DefaultValueFactory = _ => "stop",
    };

    readonly Option<int> sinks = new("--sinks") { Description = "With slide: so many first tokens stay.", DefaultValueFactory = _ => 4 };
    readonly Option<int?> window = new("--window") { Description = "With slide: so many latest tokens stay. Default: what sinks leave of the context." };

    public void AddTo(Command command)
    {
        whenFull.AcceptOnlyFromAmong("stop", "slide");
        foreach (Option option in new Option[]
            { count, temperature, topK, topP, minP, penalty, seed, stop, ignoreEos, whenFull, sinks, window })
        {
            command.Add(option);
        }
    }

    public GenerateOptions Generate(ParseResult parsed) => new()
    {
        MaxTokens = parsed.GetValue(count),
        Temperature = parsed.GetValue(temperature),
        TopK = parsed.GetValue(topK),
        TopP = parsed.GetValue(topP),
        MinP = parsed.GetValue(minP),
        RepetitionPenalty = parsed.GetValue(penalty),
        Seed = parsed.GetValue(seed),
        Stop = parsed.GetValue(stop) ?? [],
        IgnoreEos = parsed.GetValue(ignoreEos),
        WhenFull = parsed.GetValue(whenFull) == "slide" ? ContextFull.Slide : ContextFull.Stop,
        Sinks = parsed.GetValue(sinks),
        Window = parsed.GetValue(window),
    };
}
