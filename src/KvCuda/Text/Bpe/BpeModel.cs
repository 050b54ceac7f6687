using System.Buffers;
using System.Text;

namespace KvCuda.Text.Bpe;

/// <summary>The switches of a BPE model, as <c>tokenizer.json</c> names them.</summary>
readonly record struct BpeOptions(bool IgnoreMerges, bool FuseUnknown, bool ByteFallback, string? UnknownToken);

/// <summary>
/// Byte pair encoding of one word (a piece between pre-tokenizer cuts): symbols from characters or bytes, then merges. Immutable;
/// what changes lives in <see cref="BpeScratch"/>.
/// </summary>
sealed class BpeModel
{
    const int Metaspace = 0x2581; // '▁'

    readonly Vocabulary vocabulary;
    readonly MergeTable merges;
    readonly BpeOptions options;
    readonly IReadOnlySet<int>? forbidden;
    readonly bool byteLevel;
    readonly int unknown = -1;
    readonly int[] byteSymbols = new int[256];   // byte level: the id of each byte, or -1
    readonly int[] byteTokens = new int[256];    // byte fallback: the id of <0x00>..<0xFF>, or -1
    readonly int[] bmp = [];                     // character level: the id of each character below U+10000, or -1
    readonly Dictionary<int, int> astral = [];   // and of those above
    readonly HashSet<int>? joinedToMetaspace;    // characters that stand before ▁ inside a token; null = never cut at ▁

    /// <param name="vocabulary">The tokens.</param>
    /// <param name="merges">The merges.</param>
    /// <param name="options">The switches.</param>
    /// <param name="byteLevel">Words come as bytes, the vocabulary spells them in GPT-2's alphabet.</param>
    /// <param name="forbidden">Ids that no text may become.</param>
    public BpeModel(
        Vocabulary vocabulary, MergeTable merges, in BpeOptions options, bool byteLevel, IReadOnlySet<int>? forbidden = null)
    {
        this.forbidden = forbidden;
        this.vocabulary = vocabulary;
        this.merges = merges;
        this.options = options;
        this.byteLevel = byteLevel;
        if (options.UnknownToken is { } token)
        {
            // A model without the token it calls unknown fails only when it needs it; so does this one.
            unknown = vocabulary.TryGetId(Encoding.UTF8.GetBytes(token), out int id) ? id : -1;
        }

        Span<byte> spelling = stackalloc byte[6];
        for (int b = 0; b < 256; b++)
        {
            byteTokens[b] = Encoding.UTF8.TryGetBytes($"<0x{b:X2}>", spelling, out int n)
                && vocabulary.TryGetId(spelling[..n], out int token1) ? token1 : -1;
            n = new Rune(ByteAlphabet.ToChar((byte)b)).EncodeToUtf8(spelling);
            byteSymbols[b] = vocabulary.TryGetId(spelling[..n], out int symbol) && !IsForbidden(symbol) ? symbol : -1;
        }

        if (!byteLevel)
        {
            bmp = new int[0x10000];
            Array.Fill(bmp, -1);
            for (int i = 0; i < vocabulary.Count; i++)
            {
                AddCharacter(vocabulary.TokenAt(i, out int id), id);
            }

            joinedToMetaspace = FindJoints();
        }
    }

    /// <summary>The same model, in which no text becomes one of these ids. (An unknown character still becomes the unknown token.)</summary>
    public BpeModel Without(IEnumerable<int> ids)
    {
        var all = ids.Where(id => id != unknown).ToHashSet();
        return new BpeModel(vocabulary, merges.Without(all), options, byteLevel, all);
    }

    bool IsForbidden(int id) => forbidden is not null && forbidden.Contains(id);

    /// <summary>Encodes one word.</summary>
    public void Encode(ReadOnlySpan<byte> word, TokenSink sink, BpeScratch scratch)
    {
        if (joinedToMetaspace is null || options.IgnoreMerges)
        {
            EncodeWord(word, sink, scratch);
            return;
        }

        // Whole texts come as one word. No merge crosses the cut between a character and a ▁ that no token contains side by
        // side, so the parts can be encoded (and remembered) one by one.
        int start = 0;
        for (int at = 1; at < word.Length; at++)
        {
            int found = word[at..].IndexOf("▁"u8);
            if (found < 0)
            {
                break;
            }

            at += found;
            if (Rune.DecodeLastFromUtf8(word[..at], out Rune before, out _) == OperationStatus.Done
                && !joinedToMetaspace.Contains(before.Value))
            {
                EncodeWord(word[start..at], sink, scratch);
                start = at;
            }
        }

        EncodeWord(word[start..], sink, scratch);
    }

    void EncodeWord(ReadOnlySpan<byte> word, TokenSink sink, BpeScratch scratch)
    {
        if (word.IsEmpty)
        {
            return;
        }

        bool remember = word.Length <= WordCache.MaxWordBytes && !sink.WithLengths;
        ulong hash = 0;
        if (remember)
        {
            hash = Vocabulary.Hash(word);
            if (scratch.Cache.TryGet(word, hash, out ReadOnlySpan<int> ids))
            {
                sink.AddRange(ids);
                return;
            }
        }

        int first = sink.Count;
        if (!options.IgnoreMerges || !TryWhole(word, sink))
        {
            SymbolList symbols = scratch.Symbols;
            symbols.Clear();
            if (byteLevel)
            {
                AddBytes(word, symbols);
            }
            else
            {
                AddCharacters(word, symbols);
            }

            symbols.Merge(merges, word.Length);
            if (sink.WithLengths)
            {
                for (int i = 0; i < symbols.Count; i++)
                {
                    sink.Add(symbols.Ids[i], symbols.LengthOf(i));
                }
            }
            else
            {
                sink.AddRange(symbols.Ids);
            }
        }

        if (remember && sink.Count - first <= byte.MaxValue)
        {
            scratch.Cache.Add(word, hash, sink.Ids.AsSpan(first, sink.Count - first));
        }
    }

    bool TryWhole(ReadOnlySpan<byte> word, TokenSink sink)
    {
        // A word longer than any token need not be spelled out to be looked up.
        if (word.Length > vocabulary.LongestToken)
        {
            return false;
        }

        int id;
        if (!byteLevel)
        {
            if (!vocabulary.TryGetId(word, out id))
            {
                return false;
            }
        }
        else
        {
            byte[]? rented = word.Length > 256 ? ArrayPool<byte>.Shared.Rent(word.Length * 2) : null;
            Span<byte> spelling = rented ?? stackalloc byte[512];
            bool found = vocabulary.TryGetId(spelling[..ByteAlphabet.Spell(word, spelling)], out id);
            if (rented is not null)
            {
                ArrayPool<byte>.Shared.Return(rented);
            }

            if (!found)
            {
                return false;
            }
        }

        if (IsForbidden(id))
        {
            return false;
        }

        sink.Add(id, word.Length);
        return true;
    }

    void AddBytes(ReadOnlySpan<byte> word, SymbolList symbols)
    {
        var pending = new Pending(-1);
        Span<byte> spelling = stackalloc byte[2];
        for (int i = 0; i < word.Length; i++)
        {
            int id = byteSymbols[word[i]];
            if (id < 0)
            {
                AddUnknown(spelling[..ByteAlphabet.Spell(word.Slice(i, 1), spelling)], i, symbols, ref pending);
                continue;
            }

            pending.Flush(symbols, unknown);
            symbols.Add(id, i);
        }

        pending.Flush(symbols, unknown);
    }

    void AddCharacters(ReadOnlySpan<byte> word, SymbolList symbols)
    {
        var pending = new Pending(-1);
        for (int i = 0, used; i < word.Length; i += used)
        {
            int character = word[i];
            used = 1;
            if (character >= 0x80)
            {
                Rune.DecodeFromUtf8(word[i..], out Rune rune, out used);
                character = rune.Value;
            }

            int id = character < bmp.Length ? bmp[character] : astral.GetValueOrDefault(character, -1);
            if (id < 0)
            {
                AddUnknown(word.Slice(i, used), i, symbols, ref pending);
                continue;
            }

            pending.Flush(symbols, unknown);
            symbols.Add(id, i);
        }

        pending.Flush(symbols, unknown);
    }

    /// <summary>Where an unknown token that is not yet written begins, or -1.</summary>
    struct Pending(int start)
    {
        public int Start = start;

        public void Flush(SymbolList symbols, int unknown)
        {
            if (Start >= 0)
            {
                symbols.Add(unknown, Start);
                Start = -1;
            }
        }
    }

    void AddUnknown(ReadOnlySpan<byte> character, int at, SymbolList symbols, ref Pending pending)
    {
        if (options.ByteFallback && HasByteTokens(character))
        {
            // note: an unknown token that waits is written after these bytes, as the reference does.
            for (int i = 0; i < character.Length; i++)
            {
                symbols.Add(byteTokens[character[i]], at + i);
            }

            return;
        }

        if (options.UnknownToken is null)
        {
            return; // the reference leaves such characters out
        }

        if (unknown < 0)
        {
            throw new ModelFormatException(
                $"tokenizer.json: a character is not in the vocabulary, and neither is unk_token \"{options.UnknownToken}\".");
        }

        if (pending.Start >= 0 && options.FuseUnknown)
        {
            return;
        }

        pending.Flush(symbols, unknown);
        pending.Start = at;
    }

    bool HasByteTokens(ReadOnlySpan<byte> character)
    {
        foreach (byte b in character)
        {
            if (byteTokens[b] < 0)
            {
                return false;
            }
        }

        return true;
    }

    void AddCharacter(ReadOnlySpan<byte> token, int id)
    {
        if (token.IsEmpty || IsForbidden(id) || Rune.DecodeFromUtf8(token, out Rune rune, out int used) != OperationStatus.Done
            || used != token.Length)
        {
            return;
        }

        if (rune.IsBmp)
        {
            bmp[rune.Value] = id;
        }
        else
        {
            astral[rune.Value] = id;
        }
    }

    // Which characters stand directly before a ▁ in a token. Unknown and byte tokens are not spelled as the text they stand
    // for; a model that merges those is not cut at all.
    HashSet<int>? FindJoints()
    {
        if (bmp[Metaspace] < 0)
        {
            return null;
        }

        var opaque = new bool[vocabulary.IdLimit];
        foreach (int id in (ReadOnlySpan<int>)[.. byteTokens, unknown])
        {
            if (id >= 0)
            {
                opaque[id] = true;
            }
        }

        if (merges.Any(opaque))
        {
            return null;
        }

        var joints = new HashSet<int>();
        for (int i = 0; i < vocabulary.Count; i++)
        {
            ReadOnlySpan<byte> token = vocabulary.TokenAt(i, out _);
            for (int at = 1; at < token.Length; at++)
            {
                int found = token[at..].IndexOf("▁"u8);
                if (found < 0)
                {
                    break;
                }

                at += found;
                Rune.DecodeLastFromUtf8(token[..at], out Rune before, out _);
                joints.Add(before.Value);
            }
        }

        return joints;
    }
}

/// <summary>What one encoding call works with; rented, because a tokenizer serves many callers at once.</summary>
sealed class BpeScratch
{
    public SymbolList Symbols { get; } = new();

    public WordCache Cache { get; } = new();
}
