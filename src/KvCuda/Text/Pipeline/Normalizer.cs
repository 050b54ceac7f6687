namespace KvCuda.Text.Pipeline;

/// <summary>Rewrites a piece of text.</summary>
abstract class Normalizer
{
    /// <summary>Adds the normalised <paramref name="text"/> to <paramref name="output"/>; both are UTF-8.</summary>
    public abstract void Run(ReadOnlySpan<byte> text, ByteBuffer output);

    public byte[] Run(ReadOnlySpan<byte> text)
    {
        var output = new ByteBuffer();
        Run(text, output);
        return output.Span.ToArray();
    }
}
