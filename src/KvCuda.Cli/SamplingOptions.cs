using System.CommandLine;
using KvCuda.Engine;

namespace KvCuda.Cli;

/// <summary>The options that say how tokens are chosen, and until when.</summary>
internal sealed class SamplingOptions(int maxTokens)
{
    readonly Option<int> count = new("-n", "--max-tokens") { Description = "Maximum number of tokens to generate.", DefaultValueFactory = _ => maxTokens };
    readonly Option<float> temperature = new("--temperature") { Description = "Sampling temperature; 0 = greedy (always the most likely token)." };
    readonly Option<int> topK = new("--top-k") { Description = "Sample from the N most likely tokens; 0 = all." };
    readonly Option<float> topP = new("--top-p") { Description = "Sample from the smallest set of tokens with this total probability; 1 = all.", DefaultValueFactory = _ => 1 };
    readonly Option<float> minP = new("--min-p") { Description = "Drop tokens below this share of the most likely token's probability; 0 = none." };
    readonly Option<float> penalty = new("--repetition-penalty") { Description = "Values above 1 make tokens that already occurred less likely.", DefaultValueFactory = _ => 1 };
    readonly Option<ulong?> seed = new("--seed") { Description = "Seed of the sampler: the same seed gives the same text." };
    readonly Option<string[]> stop = new("--stop") { Description = "Stop when this text appears. Can be repeated." };
    readonly Option<bool> ignoreEos = new("--ignore-eos") { Description = "Do not stop at an end-of-text token." };
    readonly Option<string> whenFull = new("--when-full")
    {
        Description = "At the end of the context: stop, or slide (keep only the sinks and the window, at constant memory).",
        DefaultValueFactory = _ => "stop",
    };

    readonly Option<int> sinks = new("--sinks") { Description = "With slide: number of initial tokens to keep (attention sinks).", DefaultValueFactory = _ => 4 };
    readonly Option<int?> window = new("--window") { Description = "With slide: number of latest tokens to keep. Default: the context minus the sinks." };

    readonly Option<string> speculate = new("--speculate")
    {
        Description = "Guess the next tokens and check several per step: none, or ngram (from the text so far). The text stays the same.",
        DefaultValueFactory = _ => "none",
    };

    public void AddTo(Command command)
    {
        whenFull.AcceptOnlyFromAmong("stop", "slide");
        speculate.AcceptOnlyFromAmong("none", "ngram");
        foreach (Option option in new Option[]
            { count, temperature, topK, topP, minP, penalty, seed, stop, ignoreEos, whenFull, sinks, window, speculate })
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
        Speculate = parsed.GetValue(speculate) == "ngram" ? Speculation.NGram : Speculation.None,
    };
}
