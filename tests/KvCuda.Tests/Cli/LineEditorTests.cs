// What somebody types at the terminal: the line that comes of it, and what stands on the screen meanwhile.
using System.Globalization;
using System.Text;
using KvCuda.Cli;

namespace KvCuda.Tests.Cli;

public sealed class LineEditorTests
{
    const string Left = "<L>", Right = "<R>", Home = "<H>", End = "<E>", Up = "<U>", Down = "<D>", Back = "\x7F", Enter = "\r", Break = "<AE>", WordLeft = "<CL>";

    /// <summary>Keys from a text, in which some have names.</summary>
    sealed class Keys(string typed, int columns) : IKeyboard
    {
        int at;

        public int Columns => columns;

        public bool HasKey => at < typed.Length;

        public ConsoleKeyInfo? Read()
        {
            if (at == typed.Length)
            {
                return null;
            }
            foreach ((string name, ConsoleKey key, bool control, bool alt) in ((string, ConsoleKey, bool, bool)[])
            [
                (Left, ConsoleKey.LeftArrow, false, false), (Right, ConsoleKey.RightArrow, false, false), (Home, ConsoleKey.Home, false, false),
                (End, ConsoleKey.End, false, false), (Up, ConsoleKey.UpArrow, false, false), (Down, ConsoleKey.DownArrow, false, false),
                (Break, ConsoleKey.Enter, false, true), (WordLeft, ConsoleKey.LeftArrow, true, false),
            ])
            {
                if (string.CompareOrdinal(typed, at, name, 0, name.Length) == 0)
                {
                    at += name.Length;
                    return new('\0', key, shift: false, alt, control);
                }
            }
            char c = typed[at++];
            return new(c, c switch { '\r' => ConsoleKey.Enter, '\x7F' => ConsoleKey.Backspace, _ => default }, shift: false, alt: false, control: false);
        }
    }

    /// <summary>As much of a terminal as the editor asks for.</summary>
    sealed class Screen(int columns) : StringWriter(CultureInfo.InvariantCulture)
    {
        public string[] Rows()
        {
            List<string[]> rows = [New()];
            int row = 0, column = 0;
            string all = ToString();
            for (int i = 0; i < all.Length;)
            {
                if (all[i] == '\e')
                {
                    int end = i + 2;
                    while (!char.IsLetter(all[end]))
                    {
                        end++;
                    }
                    int count = int.TryParse(all[(i + 2)..end], out int given) ? given : 1;
                    switch (all[end])
                    {
                        case 'A':
                            row -= count;
                            break;
                        case 'C':
                            column += count;
                            break;
                        case 'J':
                            Array.Fill(rows[row], "", column, columns - column);
                            rows.RemoveRange(row + 1, rows.Count - row - 1);
                            break;
                    }
                    i = end + 1;
                }
                else if (all[i] is '\r' or '\n')
                {
                    row += all[i] == '\n' ? 1 : 0;
                    column = all[i] == '\r' ? 0 : column;
                    if (row == rows.Count)
                    {
                        rows.Add(New());
                    }
                    i++;
                }
                else
                {
                    int length = StringInfo.GetNextTextElementLength(all.AsSpan(i));
                    rows[row][column] = all.Substring(i, length);
                    column += CharacterWidth.Of(rows[row][column]);
                    i += length;
                }
            }
            return [.. rows.Select(cells => string.Concat(cells).TrimEnd())];
        }

        string[] New() => [.. Enumerable.Repeat("", columns)];
    }

    static (string[] Lines, string[] Rows) Type(string typed, int lines = 1, int columns = 40)
    {
        using Screen screen = new(columns);
        LineEditor editor = new(new Keys(typed, columns), screen);
        return ([.. Enumerable.Range(0, lines).Select(_ => editor.ReadLine() ?? "(end)")], screen.Rows());
    }

    [Theory]
    [InlineData("xyz" + Left + Left + "Q" + Enter, "xQyz")]
    [InlineData("world" + Home + "hello " + End + "!" + Enter, "hello world!")]
    [InlineData("one two three\x17" + "3" + Enter, "one two 3")]
    [InlineData("one two" + WordLeft + "\x15" + Enter, "two")]
    [InlineData("one two" + WordLeft + "\x0B" + Enter, "one ")]
    [InlineData("ab日本" + Back + Back + "cd" + Enter, "abcd")]
    [InlineData("👩‍👩‍👧é" + Back + Back + "x" + Enter, "x")]
    [InlineData("👍🏽" + Left + "a" + Right + "b" + Enter, "a👍🏽b")]
    [InlineData("one" + Break + "two" + Enter, "one\ntwo")]
    [InlineData("say \e[200~a\nb\rc\e[201~ now" + Enter, "say a\nb\nc now")]
    [InlineData("abc\x04" + Left + "\x04" + Enter, "ab")]
    public void A_line_is_what_its_keys_made_of_it(string typed, string expected)
    {
        Assert.Equal(expected, Type(typed).Lines[0]);
    }

    [Fact]
    public void Earlier_lines_come_back_and_what_was_begun_is_not_lost()
    {
        (string[] lines, _) = Type("first" + Enter + "second" + Enter + Up + Up + "!" + Enter + "begun" + Up + Down + Enter, lines: 4);
        Assert.Equal(["first", "second", "first!", "begun"], lines);
    }

    [Fact]
    public void The_end_of_input_ends_the_lines_and_keeps_the_last()
    {
        Assert.Equal(["(end)"], Type("\x04").Lines);
        Assert.Equal(["half", "(end)"], Type("half", lines: 2).Lines);
    }

    [Theory]
    [InlineData("ab日本" + Back + Back + "cd" + Enter, "> abcd")]
    [InlineData("日本語" + Left + Left + "x" + Enter, "> 日x本語")]
    [InlineData("one" + Break + "two" + Up + "" + Enter, "> one|. two")]
    [InlineData("abcdefgh日本" + Enter, "> abcdefgh|日本")]
    [InlineData("abcdefghijkl" + Home + "X" + Enter, "> Xabcdefg|hijkl")]
    [InlineData("abcdefgh" + Back + Back + Enter, "> abcdef")]
    public void The_screen_shows_the_line_whatever_its_width(string typed, string rows)
    {
        Assert.Equal(rows, string.Join('|', Type(typed, columns: 10).Rows).TrimEnd('|'));
    }

    [Fact]
    public void A_note_stands_above_the_line_that_is_being_typed()
    {
        using Screen screen = new(40);
        LineEditor editor = null!;
        editor = new(new Interrupted("abc" + Enter, () => editor.Note("(a note)")), screen);
        Assert.Equal("abc", editor.ReadLine());
        Assert.Equal("(a note)|> abc", string.Join('|', screen.Rows()).TrimEnd('|'));
    }

    sealed class Interrupted(string typed, Action before) : IKeyboard
    {
        int at;

        public int Columns => 40;

        public bool HasKey => at < typed.Length;

        public ConsoleKeyInfo? Read()
        {
            if (at == 2)
            {
                before();
            }
            return new(typed[at], typed[at++] == '\r' ? ConsoleKey.Enter : default, false, false, false);
        }
    }
}
