using System.Buffers;
using System.Text;
using System.Text.Json;
using KvCuda.Text.Decoding;
using KvCuda.Text.Patterns;
using KvCuda.Text.Pipeline;
using KvCuda.Text.Unicode;

namespace KvCuda.Text.Files;

/// <summary>Makes the steps of the pipeline from their descriptions; what it does not know it refuses by name.</summary>
sealed class StepFactory(string path)
{
    const int MaxDepth = 8;

    int normalizers, preTokenizers, decoders;

    /// <summary>Whether the pre-tokenizer ends by spelling bytes (GPT-2's alphabet).</summary>
    public bool ByteLevel { get; private set; }

    /// <summary>What tokenizer_config.json says of a space before a text; null: the file's own steps decide.</summary>
    public bool? AddPrefixSpace { get; init; }

    /// <summary>The normaliser, or null.</summary>
    public Normalizer? Normalizer(JsonElement step) => IsNull(step) ? null : Normalizer(step, 0);

    Normalizer Normalizer(JsonElement step, int depth)
    {
        Count(ref normalizers, "normalizers");
        string type = Type(step);
        switch (type)
        {
            case "Sequence" when depth < MaxDepth:
                return new NormalizerSequence(
                    [.. step.GetProperty("normalizers"u8).EnumerateArray().Select(e => Normalizer(e, depth + 1))]);
            case "Prepend" when AddPrefixSpace == false:
                throw PrefixSpaceContradicts("the normalizer Prepend");
            case "Prepend":
                return new PrependNormalizer(Utf8(step, "prepend"));
            case "Replace":
                return Pattern(step, out byte[] literal) is { } pattern
                    ? new PatternNormalizer(pattern, Utf8(step, "content"))
                    : new ReplaceNormalizer(literal, Utf8(step, "content"));
            case "NFC" or "NFKC" or "NFD" or "NFKD":
                return new UnicodeNormalizer(compose: type.EndsWith('C'), compatibility: type.Contains('K'));
            case "Lowercase":
                return new LowercaseNormalizer();
            case "Strip":
                return new StripNormalizer(Flag(step, "strip_left", true), Flag(step, "strip_right", true));
            case "ByteLevel":
                return new SpellNormalizer();
            default:
                throw Unsupported("normalizer", type);
        }
    }

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
        Count(ref preTokenizers, "pre_tokenizers");
        string type = Type(step);
        if (ByteLevel && type != "Sequence")
        {
            // Steps after ByteLevel see the spelled bytes, and so does the model.
            ByteLevel = false;
            steps.Add(new SpellBytes());
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
                // transformers rebuilds a ByteLevel that stands alone with what tokenizer_config.json says.
                bool stated = Flag(step, "add_prefix_space", true);
                if (depth == 0 ? AddPrefixSpace ?? stated : stated)
                {
                    steps.Add(new PrefixSpace());
                }

                if (Flag(step, "use_regex", true))
                {
                    steps.Add(new ScannerSplitter(WordScanner.For(WordScanner.Gpt2Pattern)!));
                }

                ByteLevel = true;
                break;
            case "Metaspace":
                AddMetaspace(step, steps);
                break;
            case "Split":
                steps.Add(Split(step));
                break;
            case "Digits":
                steps.Add(new CharSplitter(CharSet.Property("N")!,
                    Flag(step, "individual_digits", false) ? SplitBehavior.Isolated : SplitBehavior.Contiguous));
                break;
            case "Punctuation":
                steps.Add(new CharSplitter(CharSet.Punctuation, Behavior(step, "Isolated")));
                break;
            case "WhitespaceSplit":
                steps.Add(new CharSplitter(CharSet.Space, SplitBehavior.Removed));
                break;
            case "Whitespace":
                steps.Add(new PatternSplitter(new Pattern(@"\w+|[^\w\s]+"), SplitBehavior.Removed, invert: true));
                break;
            default:
                throw Unsupported("pre_tokenizer", type);
        }
    }

    void AddMetaspace(JsonElement step, List<PreTokenizer> steps)
    {
        byte[] replacement = Replacement(step);
        PrependScheme scheme = Scheme(step);
        if (AddPrefixSpace == false && scheme != PrependScheme.Never)
        {
            throw PrefixSpaceContradicts($"the pre_tokenizer Metaspace with the scheme {scheme}");
        }
        steps.Add(new MetaspaceRewriter(replacement, scheme));
        if (Flag(step, "split", true))
        {
            steps.Add(new LiteralSplitter(replacement, SplitBehavior.MergedWithNext, invert: false));
        }
    }

    byte[] Replacement(JsonElement step)
    {
        byte[] replacement = step.TryGetProperty("replacement"u8, out _) ? Utf8(step, "replacement") : "▁"u8.ToArray();
        return Rune.DecodeFromUtf8(replacement, out _, out int length) == OperationStatus.Done && length == replacement.Length
            ? replacement : throw new ModelFormatException($"{path}: Metaspace.replacement is not one character.");
    }

    PrependScheme Scheme(JsonElement step)
    {
        string? name = step.TryGetProperty("prepend_scheme"u8, out JsonElement value) ? value.GetString() : null;
        PrependScheme scheme = name switch
        {
            "first" => PrependScheme.First,
            "never" => PrependScheme.Never,
            "always" or null => PrependScheme.Always,
            _ => throw Unsupported("Metaspace.prepend_scheme", name),
        };
        if (Flag(step, "add_prefix_space", true))
        {
            return scheme;
        }

        return name is null or "never" ? PrependScheme.Never : throw new ModelFormatException(
            $"{path}: Metaspace.add_prefix_space is false, but prepend_scheme is \"{name}\".");
    }

    PreTokenizer Split(JsonElement step)
    {
        SplitBehavior behavior = Behavior(step, null);
        bool invert = Flag(step, "invert", false);
        JsonElement described = step.GetProperty("pattern"u8);
        if (described.ValueKind == JsonValueKind.Object && described.TryGetProperty("Regex"u8, out JsonElement regex)
            && (behavior, invert) is (SplitBehavior.Isolated, _) or (SplitBehavior.Removed, true)
            && WordScanner.For(regex.GetString()!) is { } scanner)
        {
            return new ScannerSplitter(scanner);
        }

        return Pattern(step, out byte[] literal) is { } pattern
            ? new PatternSplitter(pattern, behavior, invert) : new LiteralSplitter(literal, behavior, invert);
    }

    SplitBehavior Behavior(JsonElement step, string? absent)
    {
        string? name = step.TryGetProperty("behavior"u8, out JsonElement value) ? value.GetString() : absent;
        return Enum.TryParse(name, out SplitBehavior behavior) && Enum.IsDefined(behavior) && behavior.ToString() == name
            ? behavior : throw Unsupported("pre_tokenizer", $"the behavior \"{name}\"");
    }

    /// <summary>{"Regex": ..} as a pattern, or {"String": ..} (or a bare string) as a literal.</summary>
    Pattern? Pattern(JsonElement step, out byte[] literal)
    {
        JsonElement pattern = step.GetProperty("pattern"u8);
        literal = [];
        if (pattern.ValueKind == JsonValueKind.Object && pattern.TryGetProperty("Regex"u8, out JsonElement regex))
        {
            return new Pattern(regex.GetString()!);
        }

        literal = pattern.ValueKind == JsonValueKind.String
            ? Encoding.UTF8.GetBytes(pattern.GetString()!) : Utf8(pattern, "String");
        return literal.Length > 0 ? null : throw new ModelFormatException($"{path}: a pattern is empty.");
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

        var makers = new List<Func<DecoderStage>>();
        AddDecoder(step, makers, 0);
        return () => makers.ConvertAll(make => make());
    }

    void AddDecoder(JsonElement step, List<Func<DecoderStage>> makers, int depth)
    {
        Count(ref decoders, "decoders");
        string type = Type(step);
        switch (type)
        {
            case "Sequence" when depth < MaxDepth:
                foreach (JsonElement inner in step.GetProperty("decoders"u8).EnumerateArray())
                {
                    AddDecoder(inner, makers, depth + 1);
                }

                break;
            case "ByteLevel":
                makers.Add(() => new ByteLevelStage());
                break;
            case "ByteFallback":
                makers.Add(() => new ByteFallbackStage());
                break;
            case "Fuse":
                makers.Add(() => new FuseStage());
                break;
            case "Replace":
                Pattern? pattern = Pattern(step, out byte[] literal);
                string what = Encoding.UTF8.GetString(literal), with = step.GetProperty("content"u8).GetString()!;
                makers.Add(pattern is null ? () => new ReplaceStage(what, with) : () => new PatternReplaceStage(pattern, with));
                break;
            case "Strip":
                string content = step.GetProperty("content"u8).GetString()!;
                int start = step.GetProperty("start"u8).GetInt32(), stop = step.GetProperty("stop"u8).GetInt32();
                if (content.EnumerateRunes().Count() != 1 || start < 0 || stop < 0)
                {
                    throw new ModelFormatException($"{path}: the decoder Strip needs one character and two counts.");
                }

                makers.Add(() => new StripStage(content, start, stop));
                break;
            case "Metaspace":
                string replacement = Encoding.UTF8.GetString(Replacement(step));
                bool dropFirst = Scheme(step) != PrependScheme.Never;
                makers.Add(() => new MetaspaceStage(replacement, dropFirst));
                break;
            default:
                throw Unsupported("decoder", type);
        }
    }

    void Count(ref int steps, string kind)
    {
        if (++steps > TextBudget.MaxSteps)
        {
            throw new ModelFormatException($"{path}: there are more than {TextBudget.MaxSteps} {kind}.");
        }
    }

    byte[] Utf8(JsonElement step, string name) => Encoding.UTF8.GetBytes(step.GetProperty(name).GetString()
        ?? throw new ModelFormatException($"{path}: {name} is null."));

    static bool IsNull(JsonElement step) => step.ValueKind is JsonValueKind.Null or JsonValueKind.Undefined;

    static string Type(JsonElement step) => step.GetProperty("type"u8).GetString() ?? "null";

    static bool Flag(JsonElement step, string name, bool absent) =>
        step.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? value.GetBoolean() : absent;

    UnsupportedModelException PrefixSpaceContradicts(string step) => new($"{path}: {step} puts a space before a text, but "
        + "add_prefix_space in tokenizer_config.json is false; KvCuda does not build the tokenizer again without it. Correct one of them.");

    UnsupportedModelException Unsupported(string step, string what) =>
        new($"{path}: {step}: {what} is not supported.");
}
