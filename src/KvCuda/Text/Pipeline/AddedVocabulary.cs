using System.Buffers;
using System.Text;

namespace KvCuda.Text.Pipeline;

/// <summary>A token that is looked for in the text before the model sees it.</summary>
/// <param name="Id">Its id.</param>
/// <param name="Content">Its text.</param>
/// <param name="SingleWord">It counts only where no word character stands beside it.</param>
/// <param name="LeftStrip">It swallows the white space before it.</param>
/// <param name="RightStrip">It swallows the white space after it.</param>
/// <param name="Normalized">It is looked for, in normalised form, in the normalised text; else in the raw text.</param>
/// <param name="Special">Decoding leaves it out, and untrusted text cannot spell it.</param>
sealed record AddedToken(
    int Id, string Content, bool SingleWord, bool LeftStrip, bool RightStrip, bool Normalized, bool Special);

/// <summary>A stretch of text, or the added token found there.</summary>
/// <param name="Start">First byte.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Token">The token's id, or -1 for text.</param>
readonly record struct AddedSplit(int Start, int Length, int Token);

/// <summary>
/// The added tokens: found leftmost first, longest of those, in one of two passes (tokenizers, added_vocabulary.rs).
/// One pass looks in the raw text, the other in the normalised text.
/// </summary>
sealed class AddedTokenPass
{
    readonly Dictionary<int, AddedToken> tokens = [];
    readonly List<Node> nodes = [default];
    readonly int[] roots = new int[256];
    readonly SearchValues<byte> firstBytes;

    struct Node
    {
        public byte Byte;
        public int Sibling; // 0 = none
        public int Child;
        public int Token;   // id + 1, 0 = none ends here
    }

    public AddedTokenPass(IEnumerable<(AddedToken Token, byte[] Pattern)> patterns)
    {
        foreach ((AddedToken token, byte[] pattern) in patterns)
        {
            if (pattern.Length > 0)
            {
                Insert(pattern, token.Id);
                tokens[token.Id] = token;
            }
        }

        firstBytes = SearchValues.Create(
            Enumerable.Range(0, 256).Where(b => roots[b] != 0).Select(b => (byte)b).ToArray());
    }

    /// <summary>Cuts <paramref name="text"/> at the tokens it contains. The parts cover it, but for white space swallowed twice.</summary>
    /// <param name="text">UTF-8.</param>
    /// <param name="parseSpecial">False: special tokens are not looked for.</param>
    /// <param name="splits">Receives the parts, in order.</param>
    public void Split(ReadOnlySpan<byte> text, bool parseSpecial, List<AddedSplit> splits)
    {
        int done = 0, at = 0;
        while (at < text.Length)
        {
            int found = text[at..].IndexOfAny(firstBytes);
            if (found < 0)
            {
                break;
            }

            at += found;
            int id = Longest(text[at..], out int length);
            if (id < 0)
            {
                at++;
                continue;
            }

            int start = at, stop = at + length;
            at = stop; // a match that is turned down is still stepped over
            AddedToken token = tokens[id];
            if ((token.Special && !parseSpecial) || (token.SingleWord && !StandsAlone(text, start, stop)))
            {
                continue;
            }

            if (token.LeftStrip)
            {
                // White space that the token before has swallowed already stays with it.
                start = Math.Max(start - SpaceAtEnd(text[..start]), done);
            }

            if (token.RightStrip)
            {
                stop += SpaceAtStart(text[stop..]);
            }

            if (done < start)
            {
                splits.Add(new AddedSplit(done, start - done, -1));
            }

            splits.Add(new AddedSplit(start, stop - start, id));
            done = stop;
        }

        if (done < text.Length)
        {
            splits.Add(new AddedSplit(done, text.Length - done, -1));
        }
    }

    void Insert(ReadOnlySpan<byte> pattern, int id)
    {
        if (roots[pattern[0]] == 0)
        {
            roots[pattern[0]] = NewNode(pattern[0], 0);
        }

        int node = roots[pattern[0]];
        foreach (byte b in pattern[1..])
        {
            int child = nodes[node].Child;
            while (child != 0 && nodes[child].Byte != b)
            {
                child = nodes[child].Sibling;
            }

            if (child == 0)
            {
                Node parent = nodes[node];
                parent.Child = child = NewNode(b, parent.Child);
                nodes[node] = parent;
            }

            node = child;
        }

        Node last = nodes[node];
        last.Token = id + 1;
        nodes[node] = last;
    }

    int NewNode(byte b, int sibling)
    {
        nodes.Add(new Node { Byte = b, Sibling = sibling });
        return nodes.Count - 1;
    }

    int Longest(ReadOnlySpan<byte> text, out int length)
    {
        int id = -1;
        length = 0;
        int node = roots[text[0]];
        for (int depth = 1; node != 0; depth++)
        {
            Node here = nodes[node];
            if (here.Token != 0)
            {
                (id, length) = (here.Token - 1, depth);
            }

            node = 0;
            if (depth < text.Length)
            {
                node = here.Child;
                while (node != 0 && nodes[node].Byte != text[depth])
                {
                    node = nodes[node].Sibling;
                }
            }
        }

        return id;
    }

    static bool StandsAlone(ReadOnlySpan<byte> text, int start, int stop)
    {
        Rune.DecodeLastFromUtf8(text[..start], out Rune before, out _);
        Rune.DecodeFromUtf8(text[stop..], out Rune after, out _);
        return (start == 0 || !WordCharacter.Is(before)) && (stop == text.Length || !WordCharacter.Is(after));
    }

    static int SpaceAtEnd(ReadOnlySpan<byte> text)
    {
        int length = 0;
        while (Rune.DecodeLastFromUtf8(text[..^length], out Rune rune, out int used) == OperationStatus.Done
            && Rune.IsWhiteSpace(rune))
        {
            length += used;
        }

        return length;
    }

    static int SpaceAtStart(ReadOnlySpan<byte> text)
    {
        int length = 0;
        while (Rune.DecodeFromUtf8(text[length..], out Rune rune, out int used) == OperationStatus.Done
            && Rune.IsWhiteSpace(rune))
        {
            length += used;
        }

        return length;
    }
}
