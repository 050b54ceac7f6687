using System.Text;
using KvCuda.Text.Bpe;
using KvCuda.Text.Patterns;

namespace KvCuda.Text.Pipeline;

/// <summary>Rewrites a piece of text.</summary>
abstract class Normalizer
{
    /// <summary>Adds the normalised <paramref name="text"/> to <paramref name="output"/>; both are UTF-8.</summary>
    public abstract void Run(ReadOnlySpan<byte> text, ByteBuffer output);

    public byte[] Run(ReadOnlySpan<byte> text, TextBudget budget)
    {
        var output = new ByteBuffer(budget);
        Run(text, output);
        return output.Span.ToArray();
    }
}

/// <summary>One after another.</summary>
sealed class NormalizerSequence(List<Normalizer> steps) : Normalizer
{
    public override void Run(ReadOnlySpan<byte> text, ByteBuffer output)
    {
        ByteBuffer here = new(output.Budget), there = new(output.Budget);
        here.Add(text);
        foreach (Normalizer step in steps)
        {
            there.Clear();
            step.Run(here.Span, there);
            (here, there) = (there, here);
        }

        output.Add(here.Span);
    }
}

/// <summary>Puts a text in front of one that is not empty.</summary>
sealed class PrependNormalizer(byte[] prefix) : Normalizer
{
    public override void Run(ReadOnlySpan<byte> text, ByteBuffer output)
    {
        if (!text.IsEmpty)
        {
            output.Add(prefix);
            output.Add(text);
        }
    }
}

/// <summary>Replaces a fixed text.</summary>
sealed class ReplaceNormalizer(byte[] pattern, byte[] content) : Normalizer
{
    public override void Run(ReadOnlySpan<byte> text, ByteBuffer output)
    {
        for (int found; (found = text.IndexOf(pattern)) >= 0; text = text[(found + pattern.Length)..])
        {
            output.Add(text[..found]);
            output.Add(content);
        }

        output.Add(text);
    }
}

/// <summary>Replaces what a pattern matches.</summary>
sealed class PatternNormalizer(Pattern pattern, byte[] content) : Normalizer
{
    public override void Run(ReadOnlySpan<byte> text, ByteBuffer output)
    {
        int done = 0;
        foreach ((int start, int end) in text.IsEmpty ? [] : PatternSplitter.Matches(pattern, text))
        {
            output.Add(text[done..start]);
            output.Add(content);
            done = end;
        }

        output.Add(text[done..]);
    }
}

/// <summary>Takes white space off the ends.</summary>
sealed class StripNormalizer(bool left, bool right) : Normalizer
{
    public override void Run(ReadOnlySpan<byte> text, ByteBuffer output)
    {
        while (left && !text.IsEmpty)
        {
            Rune.DecodeFromUtf8(text, out Rune rune, out int length);
            if (!Rune.IsWhiteSpace(rune))
            {
                break;
            }

            text = text[length..];
        }

        while (right && !text.IsEmpty)
        {
            Rune.DecodeLastFromUtf8(text, out Rune rune, out int length);
            if (!Rune.IsWhiteSpace(rune))
            {
                break;
            }

            text = text[..^length];
        }

        output.Add(text);
    }
}

/// <summary>Lower case, character by character.</summary>
sealed class LowercaseNormalizer : Normalizer
{
    public override void Run(ReadOnlySpan<byte> text, ByteBuffer output)
    {
        for (int length; !text.IsEmpty; text = text[length..])
        {
            Rune.DecodeFromUtf8(text, out Rune rune, out length);
            if (rune.Value == 0x130)
            {
                output.Add("i\u0307"u8); // İ: the one letter whose lower case is two characters
                continue;
            }

            output.Advance(Rune.ToLowerInvariant(rune).EncodeToUtf8(output.Reserve(4)));
        }
    }
}

/// <summary>ByteLevel as a normaliser: the text spelled in GPT-2's alphabet.</summary>
sealed class SpellNormalizer : Normalizer
{
    public override void Run(ReadOnlySpan<byte> text, ByteBuffer output) =>
        output.Advance(ByteAlphabet.Spell(text, output.Reserve(text.Length * 2)));
}
