using System.Buffers;
using System.Collections.Concurrent;
using System.Text;
using System.Text.Json;
using KvCuda.Text.Bpe;
using KvCuda.Text.Decoding;
using KvCuda.Text.Files;
using KvCuda.Text.Pipeline;

namespace KvCuda.Text;

/// <summary>
/// The tokenizer that a <c>tokenizer.json</c> describes (BPE models), step by step as the file says: added tokens, normaliser,
/// pre-tokenizer, model, post-processor, decoder. <see cref="Tokenizer"/> shows its use.
/// </summary>
public sealed class HuggingFaceTokenizer : Tokenizer
{
    const long MaxFileBytes = 1L << 30;

    readonly Vocabulary vocabulary;
    readonly BpeModel model;
    readonly Lazy<BpeModel> guardedModel; // in which no text becomes a special token
    readonly Normalizer? normalizer;
    readonly List<PreTokenizer> preTokenizers;
    readonly AddedTokenPass? rawPass, normalizedPass;
    readonly Dictionary<int, AddedToken> added = [];
    readonly Dictionary<int, byte[]> addedSpelling = [];
    readonly Dictionary<string, int> addedIds = new(StringComparer.Ordinal);
    readonly HashSet<int> specialIds = [];
    int further; // ids beyond the model's vocabulary that were given out
    readonly int[] before, after;
    readonly Func<List<DecoderStage>> decoder;
    readonly ConcurrentBag<BpeScratch> scratches = [], guardedScratches = [];

    HuggingFaceTokenizer(TokenizerFile file, string path, FolderTokens? folder)
    {
        var steps = new StepFactory(path) { AddPrefixSpace = folder?.AddPrefixSpace };
        vocabulary = file.Vocabulary;
        normalizer = steps.Normalizer(file.Normalizer);
        preTokenizers = steps.PreTokenizers(file.PreTokenizer);
        (before, after) = steps.PostProcessor(file.PostProcessor);
        decoder = steps.Decoder(file.Decoder);
        model = new BpeModel(vocabulary, file.Merges, file.Options, steps.ByteLevel);
        AddTokens(file.AddedTokens);
        if (folder is not null)
        {
            AddTokens(folder, path);
            (before, after) = folder.Around(TokenToId) ?? (before, after);
            Ends = folder.Ends(TokenToId, IdToToken);
            BeginningOfSentenceId = folder.Beginning(TokenToId);
            EndOfSequenceIds = [.. Ends.Select(end => end.Id)];
        }
        VocabularySize = Math.Max(vocabulary.IdLimit, added.Count == 0 ? 0 : added.Keys.Max() + 1);
        (rawPass, normalizedPass) = (Pass(false), Pass(true));
        guardedModel = new Lazy<BpeModel>(() => model.Without(specialIds));
    }

    /// <summary>Reads one <c>tokenizer.json</c> by itself; which tokens begin and end a sequence is then unknown.</summary>
    public static HuggingFaceTokenizer LoadFile(string path) =>
        Create(ModelFile.ReadAllBytes(path, MaxFileBytes), path, null);

    /// <summary>Reads the content of a <c>tokenizer.json</c>.</summary>
    /// <param name="json">UTF-8.</param>
    /// <param name="name">What to call it in errors.</param>
    public static HuggingFaceTokenizer Parse(ReadOnlySpan<byte> json, string name = "tokenizer.json") =>
        Create(json, name, null);

    internal static HuggingFaceTokenizer LoadFolder(string folder)
    {
        string path = Path.Combine(folder, "tokenizer.json");
        if (!File.Exists(path))
        {
            throw new ModelFormatException(
                $"There is no tokenizer.json in \"{folder}\". KvCuda reads the tokenizers of Hugging Face folders; a "
                + "tokenizer.model (SentencePiece) alone can be converted by saving the model's fast tokenizer.");
        }

        return Create(ModelFile.ReadAllBytes(path, MaxFileBytes), path, FolderTokens.Read(folder));
    }

    static HuggingFaceTokenizer Create(ReadOnlySpan<byte> json, string path, FolderTokens? folder)
    {
        TokenizerFile file = TokenizerFile.Parse(json, path);
        try
        {
            return new HuggingFaceTokenizer(file, path, folder);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException or KeyNotFoundException)
        {
            throw new ModelFormatException($"{path}: a step of the pipeline is malformed: {e.Message}", e);
        }
    }

    /// <inheritdoc/>
    public override int? BeginningOfSentenceId { get; }

    /// <inheritdoc/>
    public override IReadOnlyList<int> EndOfSequenceIds { get; } = [];

    /// <summary>What ends a text, with the files that say so.</summary>
    internal IReadOnlyList<EndToken> Ends { get; } = [];

    /// <summary>The ids that are put before and after a text.</summary>
    internal (IReadOnlyList<int> Before, IReadOnlyList<int> After) Around => (before, after);

    /// <summary>One more than the largest id. A model may have more rows than that, padding that means nothing.</summary>
    public int VocabularySize { get; private set; }

    /// <summary>The id of a token as the vocabulary spells it ("Ġworld", "&lt;|im_end|&gt;"), or null.</summary>
    public int? TokenToId(string token)
    {
        ArgumentNullException.ThrowIfNull(token);
        return addedIds.TryGetValue(token, out int id) || vocabulary.TryGetId(Encoding.UTF8.GetBytes(token), out id) ? id : null;
    }

    /// <summary>The token of an id as the vocabulary spells it, or null.</summary>
    public string? IdToToken(int id) => added.TryGetValue(id, out AddedToken? token) ? token.Content
        : vocabulary.Contains(id) ? Encoding.UTF8.GetString(vocabulary.BytesOf(id)) : null;

    /// <summary>Whether decoding leaves this id out, and untrusted text cannot spell it.</summary>
    public bool IsSpecial(int id) => specialIds.Contains(id);

    /// <inheritdoc/>
    public override int? SpecialTokenToId(string token)
    {
        ArgumentNullException.ThrowIfNull(token);
        return addedIds.TryGetValue(token, out int id) && specialIds.Contains(id) ? id : null;
    }

    /// <inheritdoc/>
    public override byte[] TokenBytes(int id)
    {
        if (!TryGetSpelling(id, out ReadOnlySpan<byte> spelling))
        {
            return [];
        }
        if (IsSpecial(id))
        {
            return spelling.ToArray();
        }
        byte[] whole = base.TokenBytes(id), bytes = new byte[spelling.Length];
        if (!Encoding.UTF8.GetString(whole).Contains('\uFFFD', StringComparison.Ordinal))
        {
            return whole;
        }
        if (spelling is [(byte)'<', (byte)'0', (byte)'x', _, _, (byte)'>']
            && byte.TryParse(spelling[3..5], System.Globalization.NumberStyles.AllowHexSpecifier, null, out byte value))
        {
            return [value]; // byte fallback
        }
        return ByteAlphabet.TryRead(spelling, bytes, out int length) ? bytes[..length] : whole;
    }

    /// <inheritdoc/>
    public override IReadOnlyList<int> EncodeToIds(string text, SpecialTokens specialTokens)
    {
        ArgumentNullException.ThrowIfNull(text);
        var sink = new TokenSink(withLengths: false);
        Encode(text, specialTokens, new EncodeSettings(), sink, null);
        return sink.Ids.AsSpan(0, sink.Count).ToArray();
    }

    /// <inheritdoc/>
    protected override EncodeResults<int> EncodeToIds(string? text, ReadOnlySpan<char> textSpan, EncodeSettings settings)
    {
        if (settings.MaxTokenCount != int.MaxValue)
        {
            return base.EncodeToIds(text, textSpan, settings);
        }

        var sink = new TokenSink(withLengths: false);
        Encode(textSpan, SpecialTokens.ParseAndAdd, settings, sink, null);
        return new EncodeResults<int> { Tokens = sink.Ids.AsSpan(0, sink.Count).ToArray(), CharsConsumed = textSpan.Length };
    }

    /// <inheritdoc/>
    protected override int CountTokens(string? text, ReadOnlySpan<char> textSpan, EncodeSettings settings)
    {
        var sink = new TokenSink(withLengths: false);
        Encode(textSpan, SpecialTokens.ParseAndAdd, settings, sink, null);
        return Math.Min(sink.Count, settings.MaxTokenCount);
    }

    /// <inheritdoc/>
    protected override EncodeResults<EncodedToken> EncodeToTokens(
        string? text, ReadOnlySpan<char> textSpan, EncodeSettings settings)
    {
        var sink = new TokenSink(withLengths: true);
        var normalized = new ByteBuffer();
        Encode(textSpan, SpecialTokens.ParseAndAdd, settings, sink, normalized);
        string result = Encoding.UTF8.GetString(normalized.Span);
        int count = Math.Min(sink.Count, settings.MaxTokenCount);
        var tokens = new EncodedToken[count];
        int at = 0, units = 0, consumed = 0;
        for (int i = 0; i < count; i++)
        {
            // A token may begin or end inside a character: its range then covers all of it. (A character counts with its first
            // byte, so the end needs no care.)
            int start = units, first = at;
            while (first < normalized.Length && first > 0 && (normalized.Span[first] & 0xC0) == 0x80)
            {
                first--;
            }

            start -= first == at ? 0 : normalized.Span[first] >= 0xF0 ? 2 : 1;
            consumed = ToUnits(normalized.Span, ref at, ref units, at + sink.Lengths[i]);
            tokens[i] = new EncodedToken(sink.Ids[i], IdToToken(sink.Ids[i]) ?? "", start..consumed);
        }

        return new EncodeResults<EncodedToken>
        {
            Tokens = tokens,
            NormalizedText = textSpan.SequenceEqual(result) ? null : result,
            CharsConsumed = consumed,
        };

        // UTF-16 units that begin before byte `to`.
        static int ToUnits(ReadOnlySpan<byte> utf8, ref int at, ref int units, int to)
        {
            for (; at < Math.Min(to, utf8.Length); at++)
            {
                units += (utf8[at] & 0xC0) == 0x80 ? 0 : utf8[at] >= 0xF0 ? 2 : 1;
            }

            return units;
        }
    }

    /// <inheritdoc/>
    public override string Decode(IEnumerable<int> ids) => Decode(ids, skipSpecialTokens: true);

    /// <summary>The text of <paramref name="ids"/>, with or without special tokens. Ids the vocabulary lacks are left out.</summary>
    public string Decode(IEnumerable<int> ids, bool skipSpecialTokens)
    {
        ArgumentNullException.ThrowIfNull(ids);
        var stream = new PipelineDecoder(this, decoder(), skipSpecialTokens);
        foreach (int id in ids)
        {
            stream.Feed(id);
        }

        return stream.Flush();
    }

    /// <inheritdoc/>
    public override OperationStatus Decode(
        IEnumerable<int> ids, Span<char> destination, out int idsConsumed, out int charsWritten)
    {
        ArgumentNullException.ThrowIfNull(ids);
        var stream = new PipelineDecoder(this, decoder(), skipSpecialTokens: true);
        int count = 0;
        foreach (int id in ids)
        {
            stream.Feed(id);
            count++;
        }

        string text = stream.Flush();
        bool fits = text.TryCopyTo(destination);
        (idsConsumed, charsWritten) = fits ? (count, text.Length) : (0, 0);
        return fits ? OperationStatus.Done : OperationStatus.DestinationTooSmall;
    }

    /// <inheritdoc/>
    public override StreamingDecoder CreateStreamingDecoder(bool skipSpecialTokens = true) =>
        new PipelineDecoder(this, decoder(), skipSpecialTokens);

    /// <summary>A fresh row of the decoder's stages.</summary>
    internal List<DecoderStage> DecoderStages() => decoder();

    /// <summary>The token as the decoder sees it; false if there is no such id.</summary>
    internal bool TryGetSpelling(int id, out ReadOnlySpan<byte> spelling)
    {
        if (added.TryGetValue(id, out AddedToken? token))
        {
            spelling = addedSpelling[token.Id];
            return true;
        }

        spelling = vocabulary.BytesOf(id);
        return vocabulary.Contains(id);
    }

    // As the reference adds them: a token the model knows keeps the model's id, another gets the next free one, whatever the
    // file says. (In every file seen the two agree.)
    void AddTokens(List<AddedToken> tokens)
    {
        foreach (AddedToken read in tokens)
        {
            if (read.Content.Length > 0)
            {
                Add(read, Known(read.Content) ?? vocabulary.Count + further++);
            }
        }
    }

    // As transformers does on top of tokenizer.json: what tokenizer_config.json declares and tokenizer.json lacks is added; a token
    // that has a role (eos_token, ..) or is declared special is special, whatever tokenizer.json says.
    void AddTokens(FolderTokens folder, string path)
    {
        foreach (AddedToken declared in folder.Declared)
        {
            if (declared.Content.Length == 0)
            {
                continue;
            }
            int? known = Known(declared.Content);
            int id = known ?? vocabulary.Count + further;
            if (id != declared.Id)
            {
                throw new ModelFormatException($"{path}: the token '{declared.Content}' has the id {id} there, but "
                    + $"added_tokens_decoder in tokenizer_config.json says {declared.Id}.");
            }
            if (!addedIds.ContainsKey(declared.Content))
            {
                further += known is null ? 1 : 0;
                Add(declared, id);
            }
            else if (declared.Special)
            {
                specialIds.Add(id);
                added[id] = added[id] with { Special = true };
            }
        }
        foreach (string token in folder.Named.Values.Concat(folder.More).Where(token => token.Length > 0))
        {
            if (addedIds.TryGetValue(token, out int id))
            {
                specialIds.Add(id);
                added[id] = added[id] with { Special = true };
            }
            else if (Known(token) is int here)
            {
                Add(new AddedToken(here, token, false, false, false, Normalized: false, Special: true), here);
            }
        }
    }

    int? Known(string token) =>
        addedIds.TryGetValue(token, out int id) || vocabulary.TryGetId(Encoding.UTF8.GetBytes(token), out id) ? id : null;

    void Add(AddedToken token, int id)
    {
        byte[] content = Encoding.UTF8.GetBytes(token.Content);
        addedIds[token.Content] = id;
        added[id] = token with { Id = id };
        addedSpelling[id] = content;
        if (token.Special)
        {
            specialIds.Add(id);
        }
    }

    AddedTokenPass? Pass(bool normalized)
    {
        var budget = new TextBudget(addedSpelling.Values.Sum(spelling => (long)spelling.Length), "The normalizers of tokenizer.json");
        List<(AddedToken, byte[])> patterns = [.. added.Values.Where(t => t.Normalized == normalized)
            .Select(t => (t, normalized && normalizer is not null ? normalizer.Run(addedSpelling[t.Id], budget) : addedSpelling[t.Id]))];
        return patterns.Count > 0 ? new AddedTokenPass(patterns) : null;
    }

    void Encode(
        ReadOnlySpan<char> text, SpecialTokens specialTokens, EncodeSettings settings, TokenSink sink, ByteBuffer? trace)
    {
        // The words a scratch remembers belong to one model.
        bool parse = specialTokens.HasFlag(SpecialTokens.Parse);
        ConcurrentBag<BpeScratch> pool = parse ? scratches : guardedScratches;
        if (!pool.TryTake(out BpeScratch? scratch))
        {
            scratch = new BpeScratch();
        }

        bool add = specialTokens.HasFlag(SpecialTokens.Add);
        AddAll(add ? before : [], sink);
        byte[] utf8 = ArrayPool<byte>.Shared.Rent(Encoding.UTF8.GetMaxByteCount(text.Length));
        int length = Encoding.UTF8.GetBytes(text, utf8);
        var budget = new TextBudget(length, "The steps of tokenizer.json");
        var run = new EncodeRun(this, parse, settings, sink, scratch, trace, budget);
        run.Text(utf8, length);
        ArrayPool<byte>.Shared.Return(utf8);
        AddAll(add ? after : [], sink);
        pool.Add(scratch);

        static void AddAll(int[] ids, TokenSink sink)
        {
            foreach (int id in ids)
            {
                sink.Add(id, 0);
            }
        }
    }

    /// <summary>One text on its way through the pipeline.</summary>
    readonly struct EncodeRun(
        HuggingFaceTokenizer tokenizer, bool parseSpecial, EncodeSettings settings, TokenSink sink, BpeScratch scratch,
        ByteBuffer? trace, TextBudget budget)
    {
        public void Text(byte[] utf8, int length)
        {
            if (tokenizer.rawPass is null)
            {
                Normalize(utf8, 0, length, first: true);
                return;
            }

            var splits = new List<AddedSplit>();
            tokenizer.rawPass.Split(utf8.AsSpan(0, length), parseSpecial, splits);
            foreach (AddedSplit split in splits)
            {
                if (split.Token >= 0)
                {
                    Token(utf8.AsSpan(split.Start, split.Length), split.Token);
                }
                else
                {
                    Normalize(utf8, split.Start, split.Length, split.Start == 0);
                }
            }
        }

        void Token(ReadOnlySpan<byte> text, int id)
        {
            trace?.Add(text);
            sink.Add(id, text.Length);
        }

        void Normalize(byte[] utf8, int start, int length, bool first)
        {
            if (settings.ConsiderNormalization && tokenizer.normalizer is { } normalizer)
            {
                utf8 = normalizer.Run(utf8.AsSpan(start, length), budget);
                (start, length) = (0, utf8.Length);
            }

            if (tokenizer.normalizedPass is null)
            {
                PreTokenize(utf8, start, length, first);
                return;
            }

            var splits = new List<AddedSplit>();
            tokenizer.normalizedPass.Split(utf8.AsSpan(start, length), parseSpecial, splits);
            foreach (AddedSplit split in splits)
            {
                if (split.Token >= 0)
                {
                    Token(utf8.AsSpan(start + split.Start, split.Length), split.Token);
                }
                else
                {
                    PreTokenize(utf8, start + split.Start, split.Length, first && split.Start == 0);
                }
            }
        }

        void PreTokenize(byte[] utf8, int start, int length, bool first)
        {
            var pieces = new Pieces(budget);
            pieces.Reset(utf8);
            pieces.Add(start, start + length, first);
            if (settings.ConsiderPreTokenization)
            {
                var other = new Pieces(budget);
                foreach (PreTokenizer step in tokenizer.preTokenizers)
                {
                    step.Run(pieces, other);
                    (pieces, other) = (other, pieces);
                }
            }

            BpeModel model = parseSpecial ? tokenizer.model : tokenizer.guardedModel.Value;
            for (int i = 0; i < pieces.List.Count; i++)
            {
                trace?.Add(pieces[i]);
                model.Encode(pieces[i], sink, scratch);
            }
        }
    }
}
