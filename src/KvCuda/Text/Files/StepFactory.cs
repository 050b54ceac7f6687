using System.Text.Json;
using KvCuda.Text.Decoding;
using KvCuda.Text.Pipeline;

namespace KvCuda.Text.Files;

/// <summary>Makes the steps of the pipeline from their descriptions; what it does not know it refuses by name.</summary>
sealed class StepFactory(string path)
{
    const int MaxDepth = 8;

    /// <summary>Whether the pre-tokenizer ends by spelling bytes (GPT-2's alphabet).</summary>
    public bool ByteLevel { get; private set; }

    /// <summary>The normaliser, or null.</summary>
    public Normalizer? Normalizer(JsonElement step) => IsNull(step) ? null : Type(step) switch
    {
        string type => throw Unsupported("normalizer", type),
    };

    /// <summary>The pre-tokenizers in order, flattened.</summary>
    public List<PreTokenizer> PreTokenizers(JsonElement step)
    {
        var steps = new List<PreTokenizer>();
        if (!IsNull(step))
        {
            AddPreTokenizer(step, steps, 0);
        }

        return steps;
    }

    void AddPreTokenizer(JsonElement step, List<PreTokenizer> steps, int depth)
    {
        string type = Type(step);
        if (ByteLevel)
        {
            throw Unsupported("pre_tokenizer", $"{type} after ByteLevel");
        }

        switch (type)
        {
            case "Sequence" when depth < MaxDepth:
                foreach (JsonElement inner in step.GetProperty("pretokenizers"u8).EnumerateArray())
                {
                    AddPreTokenizer(inner, steps, depth + 1);
                }

                break;
            case "ByteLevel":
                if (Flag(step, "add_prefix_space", false))
                {
                    steps.Add(new PrefixSpace());
                }

                if (Flag(step, "use_regex", true))
                {
                    steps.Add(new ScannerSplitter(WordScanner.For(WordScanner.Gpt2Pattern)!));
                }

                ByteLevel = true;
                break;
            case "Split":
                steps.Add(Split(step));
                break;
            default:
                throw Unsupported("pre_tokenizer", type);
        }
    }

    PreTokenizer Split(JsonElement step)
    {
        string behavior = step.GetProperty("behavior"u8).GetString()!;
        bool invert = Flag(step, "invert", false);
        JsonElement pattern = step.GetProperty("pattern"u8);
        if (pattern.TryGetProperty("Regex"u8, out JsonElement regex))
        {
            if (WordScanner.For(regex.GetString()!) is { } scanner
                && (behavior, invert) is ("Isolated", _) or ("Removed", true))
            {
                return new ScannerSplitter(scanner);
            }

            throw Unsupported("pre_tokenizer", $"Split by the pattern {regex.GetString()}");
        }

        throw Unsupported("pre_tokenizer", $"Split by the pattern {pattern.GetRawText()}");
    }

    /// <summary>Ids that stand before and after a text.</summary>
    public (int[] Before, int[] After) PostProcessor(JsonElement step)
    {
        var before = new List<int>();
        var after = new List<int>();
        if (!IsNull(step))
        {
            AddPostProcessor(step, before, after, 0);
        }

        return ([.. before], [.. after]);
    }

    void AddPostProcessor(JsonElement step, List<int> before, List<int> after, int depth)
    {
        string type = Type(step);
        switch (type)
        {
            case "ByteLevel": // trims offsets; no ids
                break;
            case "Sequence" when depth < MaxDepth:
                foreach (JsonElement inner in step.GetProperty("processors"u8).EnumerateArray())
                {
                    AddPostProcessor(inner, before, after, depth + 1);
                }

                break;
            case "TemplateProcessing":
                AddTemplate(step, before, after);
                break;
            default:
                throw Unsupported("post_processor", type);
        }
    }

    // Templates in a sequence wrap each other: what the later one puts before stands before all.
    void AddTemplate(JsonElement step, List<int> before, List<int> after)
    {
        var left = new List<int>();
        var right = new List<int>();
        int texts = 0;
        foreach (JsonElement piece in step.GetProperty("single"u8).EnumerateArray())
        {
            if (piece.TryGetProperty("Sequence"u8, out _))
            {
                texts++;
                continue;
            }

            string name = piece.GetProperty("SpecialToken"u8).GetProperty("id"u8).GetString()!;
            if (!step.GetProperty("special_tokens"u8).TryGetProperty(name, out JsonElement token))
            {
                throw new ModelFormatException($"{path}: post_processor names the special token \"{name}\" without its ids.");
            }

            foreach (JsonElement id in token.GetProperty("ids"u8).EnumerateArray())
            {
                (texts == 0 ? left : right).Add(id.GetInt32());
            }
        }

        if (texts != 1)
        {
            throw Unsupported("post_processor", $"TemplateProcessing with {texts} texts in \"single\"");
        }

        before.InsertRange(0, left);
        after.AddRange(right);
    }

    /// <summary>Makes a fresh row of decoder stages each time it is called.</summary>
    public Func<List<DecoderStage>> Decoder(JsonElement step)
    {
        if (IsNull(step))
        {
            return () => [new SpaceStage()];
        }

        return Type(step) switch
        {
            "ByteLevel" => () => [new ByteLevelStage()],
            string type => throw Unsupported("decoder", type),
        };
    }

    static bool IsNull(JsonElement step) => step.ValueKind is JsonValueKind.Null or JsonValueKind.Undefined;

    static string Type(JsonElement step) => step.GetProperty("type"u8).GetString() ?? "null";

    static bool Flag(JsonElement step, string name, bool absent) =>
        step.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? value.GetBoolean() : absent;

    UnsupportedModelException Unsupported(string step, string what) =>
        new($"{path}: {step}: {what} is not supported.");
}
