namespace KvCuda.Text.Pipeline;

/// <summary>A cut of the text.</summary>
/// <param name="Start">First byte in the buffer.</param>
/// <param name="Length">Bytes; never 0.</param>
/// <param name="First">It begins where the whole input begins.</param>
readonly record struct Piece(int Start, int Length, bool First);

/// <summary>Pieces of one buffer, in order.</summary>
/// <param name="budget">what steps that rewrite may make</param>
sealed class Pieces(TextBudget budget)
{
    public TextBudget Budget => budget;

    public byte[] Buffer { get; private set; } = [];

    public List<Piece> List { get; } = [];

    public ReadOnlySpan<byte> this[int index] => Buffer.AsSpan(List[index].Start, List[index].Length);

    /// <summary>Empties it, to be filled with cuts of <paramref name="buffer"/>.</summary>
    public void Reset(byte[] buffer)
    {
        Buffer = buffer;
        List.Clear();
    }

    public void Add(int start, int end, bool first)
    {
        if (end > start)
        {
            List.Add(new Piece(start, end - start, first));
        }
    }
}

/// <summary>Cuts pieces into smaller ones (and, some of them, changes their text).</summary>
abstract class PreTokenizer
{
    /// <summary>Fills <paramref name="output"/> from <paramref name="input"/>; the two are never the same.</summary>
    public abstract void Run(Pieces input, Pieces output);
}

/// <summary>Cuts pieces without changing their text.</summary>
abstract class Splitter : PreTokenizer
{
    public sealed override void Run(Pieces input, Pieces output)
    {
        output.Reset(input.Buffer);
        foreach (Piece piece in input.List)
        {
            Split(input.Buffer.AsSpan(piece.Start, piece.Length), piece.Start, piece.First, output);
        }
    }

    /// <summary>Adds the cuts of <paramref name="text"/>, which lies at <paramref name="offset"/> of the buffer.</summary>
    protected abstract void Split(ReadOnlySpan<byte> text, int offset, bool first, Pieces output);
}
