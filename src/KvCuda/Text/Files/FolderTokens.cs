// What the small files of a model folder say about its tokens: the special ones, and what begins and ends a text.
using System.Text.Json;
using KvCuda.Text.Pipeline;

namespace KvCuda.Text.Files;

/// <summary>An id that ends a text, and the files that say so.</summary>
/// <param name="Id">the id</param>
/// <param name="Token">the token as the vocabulary spells it; null if there is no tokenizer</param>
/// <param name="From">"tokenizer_config.json eos_token, config.json eos_token_id"</param>
sealed record EndToken(int Id, string? Token, string From);

/// <summary>
/// tokenizer_config.json, special_tokens_map.json, generation_config.json and config.json, as far as they speak of tokens. The
/// one place that says what ends a text: <see cref="Ends"/> and <see cref="StopTexts"/>.
/// </summary>
sealed class FolderTokens
{
    /// <summary>Classes of transformers that put begin and end tokens themselves, whatever tokenizer.json's post_processor says.</summary>
    static readonly Dictionary<string, (bool Add, string Begin, string End)> AddingClasses = new(StringComparer.Ordinal)
    {
        ["LlamaTokenizer"] = (true, "<s>", "</s>"),
        ["CodeLlamaTokenizer"] = (true, "<s>", "</s>"),
        ["GemmaTokenizer"] = (true, "<bos>", "<eos>"),
        ["CohereTokenizer"] = (true, "<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>"),
        ["GPTNeoXTokenizer"] = (false, "<|endoftext|>", "<|endoftext|>"),
    };

    readonly FolderJson tokenizer, generation, config;

    FolderTokens(string folder)
    {
        tokenizer = FolderJson.Read(folder, "tokenizer_config.json");
        generation = FolderJson.Read(folder, "generation_config.json");
        config = FolderJson.Read(folder, "config.json");
        FolderJson map = FolderJson.Read(folder, "special_tokens_map.json");
        Named = ReadNamed(tokenizer);
        More = ReadMore(tokenizer);
        if (tokenizer.Find("added_tokens_decoder") is null)
        {
            // Files from before added_tokens_decoder: special_tokens_map.json has the last word, as in transformers.
            foreach ((string name, string token) in ReadNamed(map))
            {
                Named[name] = token;
            }
            More = [.. More, .. ReadMore(map).Except(More)];
        }
        Declared = ReadDeclared(tokenizer);
        Class = tokenizer.Text("tokenizer_class") is string name2 ? (name2.EndsWith("Fast", StringComparison.Ordinal) ? name2[..^4] : name2) : null;
        AddPrefixSpace = tokenizer.Flag("add_prefix_space");
        StopTexts = generation.Texts("stop_strings");
        if (tokenizer.Flag("split_special_tokens") == true)
        {
            throw new UnsupportedModelException($"{tokenizer.Path}: split_special_tokens is true, so that no text becomes a special "
                + "token; KvCuda does not implement that.");
        }
    }

    /// <summary>Reads the files of a folder; each of them may be missing.</summary>
    /// <exception cref="ModelFormatException">A file is malformed.</exception>
    /// <exception cref="UnsupportedModelException">A field asks for what is not implemented.</exception>
    public static FolderTokens Read(string folder) => new(folder);

    /// <summary>bos_token, eos_token and the like, with their text: what chat templates see of them.</summary>
    public Dictionary<string, string> Named { get; }

    /// <summary>additional_special_tokens.</summary>
    public IReadOnlyList<string> More { get; }

    /// <summary>added_tokens_decoder, by id: tokens that tokenizer.json may lack.</summary>
    public IReadOnlyList<AddedToken> Declared { get; }

    /// <summary>tokenizer_class without "Fast", or null.</summary>
    public string? Class { get; }

    /// <summary>Whether a text without a leading space gets one; null: tokenizer.json decides.</summary>
    public bool? AddPrefixSpace { get; }

    /// <summary>Texts that end a text: generation_config.json's stop_strings.</summary>
    public IReadOnlyList<string> StopTexts { get; }

    /// <summary>
    /// The ids that end a text: all that any of the files names (eos_token of the tokenizer, eos_token_id of generation_config.json
    /// and of config.json), since a model trained to stop with one of them is not helped by running past it.
    /// </summary>
    /// <param name="tokenToId">null: there is no tokenizer, and only ids count</param>
    /// <param name="idToToken">spells an id for people; null: ids are not spelled</param>
    /// <exception cref="ModelFormatException">The end token is not in the vocabulary.</exception>
    public IReadOnlyList<EndToken> Ends(Func<string, int?>? tokenToId, Func<int, string?>? idToToken = null)
    {
        var ends = new List<(int Id, string From)>();
        if (tokenToId is not null && Named.TryGetValue("eos_token", out string? token))
        {
            ends.Add((IdOf("eos_token", token, tokenToId), "tokenizer eos_token"));
        }
        ends.AddRange(generation.Ids("eos_token_id").Select(id => (id, "generation_config.json")));
        ends.AddRange(config.Ids("eos_token_id").Select(id => (id, "config.json")));
        return [.. ends.GroupBy(end => end.Id).Select(group =>
            new EndToken(group.Key, idToToken?.Invoke(group.Key), string.Join(", ", group.Select(end => end.From).Distinct())))];
    }

    /// <summary>The id that begins a text: the tokenizer's bos_token, else the configs' bos_token_id; null if none is named.</summary>
    /// <exception cref="ModelFormatException">The begin token is not in the vocabulary.</exception>
    public int? Beginning(Func<string, int?>? tokenToId)
    {
        if (tokenToId is not null && Named.TryGetValue("bos_token", out string? token))
        {
            return IdOf("bos_token", token, tokenToId);
        }
        return generation.Ids("bos_token_id").Concat(config.Ids("bos_token_id")).Cast<int?>().FirstOrDefault();
    }

    /// <summary>
    /// What transformers' tokenizer class puts before and after a text whatever tokenizer.json says (add_bos_token,
    /// add_eos_token); null where the class leaves that to tokenizer.json, as most do.
    /// </summary>
    public (int[] Before, int[] After)? Around(Func<string, int?> tokenToId)
    {
        if (Class is null || !AddingClasses.TryGetValue(Class, out (bool Add, string Begin, string End) kind))
        {
            return null;
        }
        bool? begin = tokenizer.Flag("add_bos_token"), end = tokenizer.Flag("add_eos_token");
        if (begin is null && end is null && !kind.Add)
        {
            return null;
        }
        int[] before = (begin ?? kind.Add) ? Id("bos_token", kind.Begin, begin == true) : [];
        int[] after = end == true ? Id("eos_token", kind.End, true) : [];
        // Nothing is said and there is no such token: tokenizer.json decides after all.
        return begin is null && kind.Add && before.Length == 0 ? null : (before, after);

        int[] Id(string name, string otherwise, bool asked)
        {
            string token = Named.GetValueOrDefault(name, otherwise);
            return tokenToId(token) is int id ? [id] : !asked ? [] : throw new ModelFormatException(
                $"{tokenizer.Path}: add_{name} is true, but the vocabulary of tokenizer.json has no {name} '{token}'.");
        }
    }

    /// <summary>What generation_config.json suggests for sampling, which is not applied: the caller's options decide.</summary>
    public IReadOnlyList<string> Suggestions => [.. generation.Fields
        .Where(entry => entry.Name is "do_sample" or "temperature" or "top_k" or "top_p" or "min_p" or "typical_p" or "repetition_penalty"
            or "max_new_tokens" or "presence_penalty" or "frequency_penalty" or "min_new_tokens")
        .Select(entry => $"{entry.Name} {entry.Value.GetRawText()}")];

    /// <summary>Fields of the files that KvCuda does not know or does not apply: "tokenizer_config.json: fix_mistral_regex".</summary>
    public IReadOnlyList<string> Unread =>
    [
        .. tokenizer.Fields.Where(entry => !KnownTokenFields.OfTokenizer(entry.Name)).Select(entry => $"{tokenizer.Name}: {entry.Name}"),
        .. generation.Fields.Where(entry => !KnownTokenFields.OfGeneration(entry.Name)).Select(entry => $"{generation.Name}: {entry.Name}"),
    ];

    int IdOf(string name, string token, Func<string, int?> tokenToId) => tokenToId(token) ?? throw new ModelFormatException(
        $"{tokenizer.Path}: {name} is '{token}' (here or in special_tokens_map.json), but the vocabulary of tokenizer.json has no such "
        + "token. Correct the name, or add the token to tokenizer.json.");

    static Dictionary<string, string> ReadNamed(FolderJson file)
    {
        var named = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (JsonProperty field in file.Fields)
        {
            if (field.Name.EndsWith("_token", StringComparison.Ordinal)
                && field.Value.ValueKind is JsonValueKind.String or JsonValueKind.Object
                && file.Token(field.Name) is string token)
            {
                named[field.Name] = token;
            }
        }
        // Tokens of the model's own kind ("image_token"), by name.
        if (file.Find("extra_special_tokens") is { ValueKind: JsonValueKind.Object } extra)
        {
            foreach (JsonProperty field in extra.EnumerateObject())
            {
                if (FolderJson.TokenOf(field.Value) is string token)
                {
                    named.TryAdd(field.Name, token);
                }
            }
        }
        return named;
    }

    static List<string> ReadMore(FolderJson file)
    {
        var more = new List<string>();
        foreach (string name in (ReadOnlySpan<string>)["additional_special_tokens", "extra_special_tokens"])
        {
            if (file.Find(name) is { ValueKind: JsonValueKind.Array } list)
            {
                more.AddRange(list.EnumerateArray().Select(item => FolderJson.TokenOf(item)
                    ?? throw file.Wrong(name, "a list of tokens")));
            }
        }
        return more;
    }

    static List<AddedToken> ReadDeclared(FolderJson file)
    {
        var tokens = new List<AddedToken>();
        if (file.Find("added_tokens_decoder") is not JsonElement decoder)
        {
            return tokens;
        }
        if (decoder.ValueKind != JsonValueKind.Object)
        {
            throw file.Wrong("added_tokens_decoder", "an object from id to token");
        }
        foreach (JsonProperty entry in decoder.EnumerateObject())
        {
            JsonElement e = entry.Value;
            if (!int.TryParse(entry.Name, System.Globalization.NumberStyles.None, System.Globalization.CultureInfo.InvariantCulture, out int id)
                || id >= Bpe.Vocabulary.MaxId || FolderJson.TokenOf(e) is not { Length: <= 4096 } content)
            {
                throw new ModelFormatException($"{file.Path}: the entry '{entry.Name}' of added_tokens_decoder should be an id with a token.");
            }
            tokens.Add(new AddedToken(id, content, Is("single_word"), Is("lstrip"), Is("rstrip"), Is("normalized"), Is("special")));

            bool Is(string name) => e.ValueKind == JsonValueKind.Object && e.TryGetProperty(name, out JsonElement flag)
                && flag.ValueKind == JsonValueKind.True;
        }
        return [.. tokens.OrderBy(token => token.Id)];
    }
}
