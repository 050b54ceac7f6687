using KvCuda.Engine;

namespace KvCuda.Tests.Engine;

public class StopMatcherTests
{
    [Theory]
    [InlineData("one two three", "two", "one ")]
    [InlineData("one two three", "none", "one two three")]
    [InlineData("ababac tail", "abac", "ab")]
    [InlineData("stop", "stop", "")]
    [InlineData("almost sto", "stop", "almost sto")]
    public void Text_ends_before_the_stop_text_however_it_is_cut(string text, string stop, string expected)
    {
        for (int size = 1; size <= text.Length; size++)
        {
            StopMatcher matcher = new([stop]);
            string output = "";
            for (int at = 0; at < text.Length; at += size)
            {
                output += matcher.Append(text.Substring(at, Math.Min(size, text.Length - at)));
            }
            output += matcher.Flush();
            Assert.Equal(expected, output);
            Assert.Equal(expected != text, matcher.Stopped);
        }
    }

    [Fact]
    public void The_earliest_of_several_stop_texts_wins()
    {
        StopMatcher matcher = new(["of", "D"]);
        Assert.Equal("EN", matcher.Append("END of it") + matcher.Flush());
    }

    [Fact]
    public void Only_what_could_become_a_stop_text_is_held_back()
    {
        StopMatcher matcher = new(["\n\n"]);
        Assert.Equal("line", matcher.Append("line\n"));
        Assert.Equal("\nnext", matcher.Append("next"));
        Assert.Equal("", matcher.Flush());
    }
}
