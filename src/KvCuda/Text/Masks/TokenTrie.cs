// The vocabulary as a tree of bytes, so that a mask is one walk that skips what cannot follow.
using System.Runtime.CompilerServices;
using System.Text;
using KvCuda.Text.Bpe;
using KvCuda.Text.Decoding;

namespace KvCuda.Text.Masks;

/// <summary>
/// All tokens by the bytes that they add to a text, in preorder. Special tokens and ids that add nothing are not in it: no text is made of them.
/// </summary>
sealed class TokenTrie
{
    static readonly ConditionalWeakTable<Tokenizer, TokenTrie[]> Known = [];

    readonly byte[]?[] bytes;

    TokenTrie(byte[]?[] bytes)
    {
        this.bytes = bytes;
        int[] ids = [.. Enumerable.Range(0, bytes.Length).Where(id => bytes[id] is { Length: > 0 })];
        Array.Sort(ids, (a, b) => bytes[a].AsSpan().SequenceCompareTo(bytes[b]) is not 0 and var order ? order : a.CompareTo(b));
        var values = new List<byte>();
        var depths = new List<int>();
        var ends = new List<int>();
        var tokens = new List<int>();
        var path = new List<int>(); // the node of each byte of the token before
        var skips = new List<int>();
        byte[] before = [];
        foreach (int id in ids)
        {
            byte[] token = bytes[id]!;
            int shared = token.AsSpan().CommonPrefixLength(before);
            while (path.Count > shared)
            {
                skips[path[^1]] = values.Count;
                path.RemoveAt(path.Count - 1);
            }
            for (int i = shared; i < token.Length; i++)
            {
                path.Add(values.Count);
                values.Add(token[i]);
                depths.Add(i + 1);
                skips.Add(0);
                ends.Add(tokens.Count);
            }
            tokens.Add(id);
            ends[^1] = tokens.Count;
            before = token;
            MaxDepth = Math.Max(MaxDepth, token.Length);
        }
        while (path.Count > 0)
        {
            skips[path[^1]] = values.Count;
            path.RemoveAt(path.Count - 1);
        }
        (Byte, Depth, Skip, TokenEnd, Tokens) = ([.. values], [.. depths], [.. skips], [.. ends], [.. tokens]);
    }

    /// <summary>The byte that leads to a node.</summary>
    public byte[] Byte { get; }

    /// <summary>How many bytes lead to it.</summary>
    public int[] Depth { get; }

    /// <summary>The first node that is not below it.</summary>
    public int[] Skip { get; }

    /// <summary>Tokens up to and including those that end at a node.</summary>
    public int[] TokenEnd { get; }

    /// <summary>Ids, in the order of the nodes where they end.</summary>
    public int[] Tokens { get; }

    public int MaxDepth { get; }

    /// <summary>Where the tokens that end at a node begin in <see cref="Tokens"/>.</summary>
    public int TokenStart(int node) => node == 0 ? 0 : TokenEnd[node - 1];

    /// <summary>What a token adds to a text; empty if it is in no text.</summary>
    public ReadOnlySpan<byte> BytesOf(int id) => (uint)id < (uint)bytes.Length ? bytes[id] : [];

    /// <summary>The tokens of a tokenizer: as they begin a text, and as they continue one (the same object where there is no difference).</summary>
    public static (TokenTrie First, TokenTrie Later) Of(Tokenizer tokenizer, int vocabulary)
    {
        TokenTrie[] both = Known.GetValue(tokenizer, key => Build(key, vocabulary));
        return (both[0], both[1]);
    }

    static TokenTrie[] Build(Tokenizer tokenizer, int vocabulary)
    {
        var own = tokenizer as HuggingFaceTokenizer;
        List<DecoderStage> stages = own?.DecoderStages() ?? [];
        bool byteLevel = stages.Exists(stage => stage is ByteLevelStage), fallback = stages.Exists(stage => stage is ByteFallbackStage);
        int anchor = byteLevel ? -1 : Anchor(tokenizer, vocabulary);
        string before = anchor < 0 ? "" : tokenizer.Decode([anchor]);
        var first = new byte[]?[vocabulary];
        var later = new byte[]?[vocabulary];
        bool same = true;
        for (int id = 0; id < vocabulary; id++)
        {
            if (own is not null && (own.IsSpecial(id) || own.IdToToken(id) is null))
            {
                continue;
            }
            if (byteLevel)
            {
                first[id] = later[id] = OfByteLevel(own!.IdToToken(id)!);
                continue;
            }
            if (fallback && own!.IdToToken(id) is ['<', '0', 'x', var high, var low, '>'] && char.IsAsciiHexDigit(high) && char.IsAsciiHexDigit(low))
            {
                first[id] = later[id] = [Convert.ToByte($"{high}{low}", 16)];
                continue;
            }
            first[id] = OfText(tokenizer.Decode([id]));
            string text = anchor < 0 ? tokenizer.Decode([id]) : tokenizer.Decode([anchor, id]);
            later[id] = text.StartsWith(before, StringComparison.Ordinal) ? OfText(text[before.Length..]) : null;
            same &= first[id].AsSpan().SequenceEqual(later[id]);
        }
        var trie = new TokenTrie(later);
        return [same ? trie : new TokenTrie(first), trie];
    }

    // A token that ends in a whole character, after which others are decoded as in the middle of a text.
    static int Anchor(Tokenizer tokenizer, int vocabulary)
    {
        for (int id = 0; id < vocabulary; id++)
        {
            if (tokenizer.Decode([id]) is [>= 'a' and <= 'z'])
            {
                return id;
            }
        }
        return -1;
    }

    static byte[] OfByteLevel(string token)
    {
        var bytes = new byte[token.Length];
        for (int i = 0; i < token.Length; i++)
        {
            int value = ByteAlphabet.ToByte(token[i]);
            if (value < 0)
            {
                return Encoding.UTF8.GetBytes(token);
            }
            bytes[i] = (byte)value;
        }
        return bytes;
    }

    // A replacement character stands for bytes that are not known: such a token is in no text.
    static byte[]? OfText(string text) => text.Contains('\uFFFD', StringComparison.Ordinal) ? null : Encoding.UTF8.GetBytes(text);
}
