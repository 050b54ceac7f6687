using System.Globalization;
using System.Text;
using System.Text.Unicode;

namespace KvCuda.Text.Decoding;

/// <summary>All tokens become one.</summary>
sealed class FuseStage : DecoderStage
{
    public override void Add(ReadOnlySpan<char> part, bool ends) => Pass(part, ends: false);

    protected override void Drain() => Pass("", ends: true);
}

/// <summary>A stage that looks at whole tokens; parts of one are put together first.</summary>
abstract class TokenStage : DecoderStage
{
    readonly StringBuilder token = new();

    public sealed override void Add(ReadOnlySpan<char> part, bool ends)
    {
        if (ends && token.Length == 0)
        {
            Token(part);
            return;
        }

        token.Append(part);
        if (ends)
        {
            string whole = token.ToString();
            token.Clear();
            Token(whole);
        }
    }

    protected abstract void Token(ReadOnlySpan<char> token);
}

/// <summary>
/// ByteFallback: &lt;0x0A&gt; stands for a byte. A run of them is UTF-8, or, if any of it is malformed, one U+FFFD for each
/// byte; so a run is held back until it ends.
/// </summary>
sealed class ByteFallbackStage : TokenStage
{
    readonly List<byte> run = [];

    protected override void Token(ReadOnlySpan<char> token)
    {
        if (token is ['<', '0', 'x', _, _, '>'] && TryByte(token[3..5], out byte value))
        {
            run.Add(value);
            return;
        }

        Drain();
        Pass(token, ends: true);
    }

    protected override void Drain()
    {
        if (run.Count == 0)
        {
            return;
        }

        byte[] bytes = [.. run];
        run.Clear();
        if (Utf8.IsValid(bytes))
        {
            Pass(Encoding.UTF8.GetString(bytes), ends: true);
            return;
        }

        foreach (byte _ in bytes)
        {
            Pass("\uFFFD", ends: true);
        }
    }

    // As Rust reads it: one digit may follow a plus.
    static bool TryByte(ReadOnlySpan<char> digits, out byte value) => byte.TryParse(
        digits[0] == '+' ? digits[1..] : digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);
}

/// <summary>Replaces a text within each token. Of a fused token, it holds back what may be the beginning of a match.</summary>
sealed class ReplaceStage(string pattern, string content) : DecoderStage
{
    readonly StringBuilder held = new();

    public override void Add(ReadOnlySpan<char> part, bool ends)
    {
        if (held.Length > 0)
        {
            Charge(held.Length);
            part = held.Append(part).ToString();
            held.Clear();
        }

        int found;
        while ((found = part.IndexOf(pattern, StringComparison.Ordinal)) >= 0)
        {
            Pass(part[..found], ends: false);
            Pass(content, ends: false);
            part = part[(found + pattern.Length)..];
        }

        int keep = ends ? 0 : Math.Min(part.Length, pattern.Length - 1);
        while (keep > 0 && !pattern.AsSpan().StartsWith(part[^keep..], StringComparison.Ordinal))
        {
            keep--;
        }

        held.Append(part[^keep..]);
        Pass(part[..^keep], ends);
    }

    protected override void Drain()
    {
    }
}

/// <summary>Replaces what a pattern matches within each token.</summary>
sealed class PatternReplaceStage(Patterns.Pattern pattern, string content) : TokenStage
{
    protected override void Token(ReadOnlySpan<char> token)
    {
        byte[] utf8 = Encoding.UTF8.GetBytes(token.ToArray());
        var text = new StringBuilder();
        int done = 0;
        foreach ((int start, int end) in utf8.Length == 0 ? [] : Pipeline.PatternSplitter.Matches(pattern, utf8))
        {
            Charge(start - done + content.Length);
            text.Append(Encoding.UTF8.GetString(utf8.AsSpan(done..start))).Append(content);
            done = end;
        }

        Pass(text.Append(Encoding.UTF8.GetString(utf8.AsSpan(done))).ToString(), ends: true);
    }

    protected override void Drain()
    {
    }
}

/// <summary>Takes up to <paramref name="start"/> characters off the front of each token, up to <paramref name="stop"/> off its end.</summary>
sealed class StripStage(string content, int start, int stop) : DecoderStage
{
    readonly StringBuilder held = new(); // the run of `content` at the end, as far as it may be taken off
    int taken;
    bool inside;

    public override void Add(ReadOnlySpan<char> part, bool ends)
    {
        while (!inside && taken < start && part.StartsWith(content, StringComparison.Ordinal))
        {
            part = part[content.Length..];
            taken++;
        }

        inside |= part.Length > 0;
        if (stop > 0)
        {
            Charge(held.Length);
            part = held.Append(part).ToString();
            held.Clear();
            int cut = part.Length, count = 0;
            while (count < stop && part[..cut].EndsWith(content, StringComparison.Ordinal))
            {
                cut -= content.Length;
                count++;
            }

            if (!ends)
            {
                held.Append(part[cut..]);
            }

            part = part[..cut];
        }

        Pass(part, ends);
        if (ends)
        {
            (taken, inside) = (0, false);
        }
    }

    protected override void Drain() => (taken, inside) = (0, false);
}

/// <summary>Metaspace: ▁ becomes a space; those of the first token are dropped, unless none was ever put in front.</summary>
sealed class MetaspaceStage(string replacement, bool dropFirst) : TokenStage
{
    bool first = true;

    protected override void Token(ReadOnlySpan<char> token)
    {
        string with = first && dropFirst ? "" : " ";
        first = false;
        Pass(token.ToString().Replace(replacement, with, StringComparison.Ordinal), ends: true);
    }

    protected override void Drain() => first = true;
}
