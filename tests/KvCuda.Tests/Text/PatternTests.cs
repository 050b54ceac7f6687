using System.Text;
using KvCuda.Text.Patterns;
using KvCuda.Text.Pipeline;

namespace KvCuda.Tests.Text;

public class PatternTests
{
    const string U = @"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", L = @"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", C = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
    const string End = @"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+", SlashEnd = @"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    public static TheoryData<string> Known { get; } = new(
        WordScanner.Gpt2Pattern,
        C + @"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + End,
        C + @"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + End,
        $@"[^\r\n\p{{L}}\p{{N}}]?{U}*{L}+{C}?|[^\r\n\p{{L}}\p{{N}}]?{U}+{L}*{C}?|\p{{N}}{{1,3}}" + SlashEnd,
        $@"[^\r\n\p{{L}}\p{{N}}]?{U}*{L}+|[^\r\n\p{{L}}\p{{N}}]?{U}+{L}*|\p{{N}}" + SlashEnd);

    [Theory]
    [MemberData(nameof(Known))]
    public void A_scanner_cuts_where_its_pattern_matches(string pattern)
    {
        WordScanner scanner = WordScanner.For(pattern)!;
        var machine = new Pattern(pattern);
        string alphabet = "aB'sStTlLrReEvVdDmM ſé中ǅʰ\u0301\u0903١½12\t\n\r  \u3000/!.😀𝕬#";
        Rune[] runes = [.. alphabet.EnumerateRunes()];
        var random = new Random(1);
        for (int i = 0; i < 2000; i++)
        {
            byte[] text = Encoding.UTF8.GetBytes(string.Concat(Enumerable.Range(0, random.Next(1, 14)).Select(_ => runes[random.Next(runes.Length)])));
            for (int at = 0; at < text.Length;)
            {
                Assert.True(machine.Find(text, at, out int start, out int end));
                Assert.Equal((at, end, Encoding.UTF8.GetString(text)), (start, scanner.Next(text, at), Encoding.UTF8.GetString(text)));
                at = end;
            }
        }
    }

    [Theory]
    [InlineData("a+?b", "xaab", 1, 4)]
    [InlineData("(?<=a)b|c$", "bab", 2, 3)]
    [InlineData("(?<!a)b", "abb", 2, 3)]
    [InlineData(@"\bfoo\b", "afoo foo", 5, 8)]
    [InlineData("a++a|aa", "aaa", 0, 2)]
    [InlineData("[a-c&-]+", "x-b&", 1, 4)]
    [InlineData("[^a-c]", "abcd", 3, 4)]
    [InlineData(@"\p{^L}+|\P{N}", "ab", 0, 1)]
    [InlineData("(?:ab){2,3}", "xababababx", 1, 7)]
    [InlineData(@"[\u4e00-\u9fa5]+", "a中文b", 1, 7)]
    [InlineData("[^(\\s|[.,!?…])]+", "(hi", 1, 3)]
    [InlineData("(?i)straSSe", "StrasSE", 0, 7)]
    [InlineData(@"\p{Han}+", "x漢字", 1, 7)]
    [InlineData("^b", "a\nb", 2, 3)]
    public void Patterns_match_as_in_oniguruma(string pattern, string text, int start, int end)
    {
        Assert.True(new Pattern(pattern).Find(Encoding.UTF8.GetBytes(text), 0, out int s, out int e));
        Assert.Equal((start, end), (s, e));
    }

    [Theory]
    [InlineData(@"(a)\1")]
    [InlineData("[[:alpha:]]")]
    [InlineData("[a&&b]")]
    [InlineData("(?<name>a)")]
    [InlineData("(a*)*")]
    [InlineData("(?<=a+)b")]
    [InlineData(@"\p{Greek}")]
    [InlineData("a{1,100000}")]
    [InlineData("(")]
    [InlineData("a)")]
    [InlineData("[a")]
    [InlineData("*a")]
    [InlineData(@"\")]
    public void What_a_pattern_cannot_have_is_refused(string pattern) =>
        Assert.Throws<UnsupportedModelException>(() => new Pattern(pattern));

    [Fact]
    public void A_pattern_that_explodes_is_stopped() => Assert.Throws<UnsupportedModelException>(
        () => new Pattern("(?:a|aa)+b").Find(Encoding.UTF8.GetBytes(new string('a', 60)), 0, out _, out _));
}
