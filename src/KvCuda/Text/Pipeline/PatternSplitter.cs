namespace KvCuda.Text.Pipeline;

/// <summary>Cuts at every match of a scanner's pattern, which match everything.</summary>
sealed class ScannerSplitter(WordScanner scanner) : Splitter
{
    protected override void Split(ReadOnlySpan<byte> text, int offset, bool first, Pieces output)
    {
        for (int at = 0; at < text.Length;)
        {
            int end = scanner.Next(text, at);
            output.Add(offset + at, offset + end, first && at == 0);
            at = end;
        }
    }
}

/// <summary>ByteLevel's add_prefix_space: a piece that does not begin with a space gets one.</summary>
sealed class PrefixSpace : PreTokenizer
{
    public override void Run(Pieces input, Pieces output)
    {
        var buffer = new ByteBuffer();
        var cuts = new List<Piece>(input.List.Count);
        for (int i = 0; i < input.List.Count; i++)
        {
            int start = buffer.Length;
            if (input[i][0] != ' ')
            {
                buffer.Add((byte)' ');
            }

            buffer.Add(input[i]);
            cuts.Add(new Piece(start, buffer.Length - start, input.List[i].First));
        }

        output.Reset(buffer.Span.ToArray());
        output.List.AddRange(cuts);
    }
}
