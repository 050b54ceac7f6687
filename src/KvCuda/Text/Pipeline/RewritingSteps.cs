using KvCuda.Text.Bpe;

namespace KvCuda.Text.Pipeline;

/// <summary>A pre-tokenizer that changes the text of each piece.</summary>
abstract class Rewriter : PreTokenizer
{
    public sealed override void Run(Pieces input, Pieces output)
    {
        var buffer = new ByteBuffer(input.Budget);
        var cuts = new List<Piece>(input.List.Count);
        for (int i = 0; i < input.List.Count; i++)
        {
            int start = buffer.Length;
            Rewrite(input[i], input.List[i].First, buffer);
            cuts.Add(new Piece(start, buffer.Length - start, input.List[i].First));
        }

        output.Reset(buffer.Span.ToArray());
        output.List.AddRange(cuts);
    }

    protected abstract void Rewrite(ReadOnlySpan<byte> piece, bool first, ByteBuffer buffer);
}

/// <summary>ByteLevel's add_prefix_space: a piece that does not begin with a space gets one.</summary>
sealed class PrefixSpace : Rewriter
{
    protected override void Rewrite(ReadOnlySpan<byte> piece, bool first, ByteBuffer buffer)
    {
        if (piece[0] != ' ')
        {
            buffer.Add((byte)' ');
        }

        buffer.Add(piece);
    }
}

/// <summary>ByteLevel where other steps follow: the text is spelled in GPT-2's alphabet.</summary>
sealed class SpellBytes : Rewriter
{
    protected override void Rewrite(ReadOnlySpan<byte> piece, bool first, ByteBuffer buffer) =>
        buffer.Advance(ByteAlphabet.Spell(piece, buffer.Reserve(piece.Length * 2)));
}

/// <summary>When Metaspace puts its character in front of a piece that lacks it.</summary>
enum PrependScheme
{
    /// <summary>Before the piece that begins the input.</summary>
    First,

    /// <summary>Not at all.</summary>
    Never,

    /// <summary>Before every piece.</summary>
    Always,
}

/// <summary>Metaspace: spaces become ▁ (or another character), and one is put in front.</summary>
sealed class MetaspaceRewriter(byte[] replacement, PrependScheme scheme) : Rewriter
{
    protected override void Rewrite(ReadOnlySpan<byte> piece, bool first, ByteBuffer buffer)
    {
        bool has = piece[0] == ' ' || piece.StartsWith(replacement);
        if (!has && (scheme == PrependScheme.Always || (scheme == PrependScheme.First && first)))
        {
            buffer.Add(replacement);
        }

        while (true)
        {
            int space = piece.IndexOf((byte)' ');
            if (space < 0)
            {
                break;
            }

            buffer.Add(piece[..space]);
            buffer.Add(replacement);
            piece = piece[(space + 1)..];
        }

        buffer.Add(piece);
    }
}
