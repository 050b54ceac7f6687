// A line that is typed: editing, history, paste, characters of any width.
using System.Globalization;
using System.Text;

namespace KvCuda.Cli;

/// <summary>The keys that somebody presses, and how wide his screen is.</summary>
internal interface IKeyboard
{
    /// <summary>Columns of the screen.</summary>
    int Columns { get; }

    /// <summary>A key has been pressed that was not read yet.</summary>
    bool HasKey { get; }

    /// <summary>Waits for a key; null: there are no more.</summary>
    ConsoleKeyInfo? Read();
}

/// <summary>
/// Reads lines from a terminal. Left, Right, Home, End, Ctrl-A, Ctrl-E, Ctrl-Left and Ctrl-Right (or Alt-B, Alt-F) move; Backspace, Delete, Ctrl-W, Ctrl-U
/// and Ctrl-K erase; Up and Down go through what was typed before; Alt-Enter breaks the line; what is pasted stays one text, line breaks and all; Ctrl-D on
/// an empty line ends the input. The cursor moves by what is read as one character, however many code points it has.
/// </summary>
internal sealed class LineEditor(IKeyboard keyboard, TextWriter screen)
{
    const string Prompt = "> ", Continued = ". ";
    const int MostHistory = 500;

    readonly List<string> history = [];
    readonly Lock gate = new();
    StringBuilder line = new();
    int cursor;          // UTF-16 units before it
    int rowOfCursor;     // rows between the first one and where the cursor is on the screen
    bool reading;

    /// <summary>Asks the terminal to say what is pasted.</summary>
    public void Begin() => Write("\e[?2004h");

    /// <summary>And no longer.</summary>
    public void End() => Write("\e[?2004l");

    /// <summary>The next line; null at the end of input.</summary>
    public string? ReadLine()
    {
        lock (gate)
        {
            (line, cursor, rowOfCursor, reading) = (new(), 0, 0, true);
            Draw();
        }
        int at = history.Count;
        string typed = "";
        while (true)
        {
            ConsoleKeyInfo? pressed = keyboard.Read();
            lock (gate)
            {
                if (pressed is not { } key || (Is(key, ConsoleKey.D, '\x04') && line.Length == 0))
                {
                    Finish();
                    return pressed is null && line.Length > 0 ? line.ToString() : null;
                }
                if (key.KeyChar == '\e' && TryPaste())
                {
                    Draw();
                    continue;
                }
                bool enter = key.Key == ConsoleKey.Enter || key.KeyChar is '\r' or '\n';
                if (enter && !key.Modifiers.HasFlag(ConsoleModifiers.Alt))
                {
                    Finish();
                    string text = line.ToString();
                    Remember(text);
                    return text;
                }
                if (key.Key is ConsoleKey.UpArrow or ConsoleKey.DownArrow || key.KeyChar is '\x10' or '\x0E')
                {
                    bool up = key.Key == ConsoleKey.UpArrow || key.KeyChar == '\x10';
                    int next = Math.Clamp(at + (up ? -1 : 1), 0, history.Count);
                    if (next != at)
                    {
                        typed = at == history.Count ? line.ToString() : typed;
                        at = next;
                        line = new(at == history.Count ? typed : history[at]);
                        cursor = line.Length;
                    }
                }
                else if (enter)
                {
                    Insert("\n");
                }
                else
                {
                    Edit(key);
                }
                if (!keyboard.HasKey) // many keys at once are drawn once
                {
                    Draw();
                }
            }
        }
    }

    /// <summary>Writes a note above the line that is being typed.</summary>
    public void Note(string text)
    {
        lock (gate)
        {
            if (reading)
            {
                Erase();
            }
            screen.Write(text.ReplaceLineEndings("\r\n") + "\r\n");
            if (reading)
            {
                Draw();
            }
            screen.Flush();
        }
    }

    void Edit(ConsoleKeyInfo key)
    {
        bool word = (key.Modifiers & (ConsoleModifiers.Control | ConsoleModifiers.Alt)) != 0;
        switch (key.Key, key.KeyChar)
        {
            case (ConsoleKey.LeftArrow, _) when word:
            case (ConsoleKey.B, _) when key.Modifiers.HasFlag(ConsoleModifiers.Alt):
                cursor = WordBefore();
                break;
            case (ConsoleKey.RightArrow, _) when word:
            case (ConsoleKey.F, _) when key.Modifiers.HasFlag(ConsoleModifiers.Alt):
                cursor = WordAfter();
                break;
            case (ConsoleKey.LeftArrow, _) or (_, '\x02'):
                cursor = Before();
                break;
            case (ConsoleKey.RightArrow, _) or (_, '\x06'):
                cursor = After();
                break;
            case (ConsoleKey.Home, _) or (_, '\x01'):
                cursor = 0;
                break;
            case (ConsoleKey.End, _) or (_, '\x05'):
                cursor = line.Length;
                break;
            case (_, '\x17'):
                Remove(WordBefore(), cursor);
                break;
            case (ConsoleKey.Backspace, _) or (_, '\b') or (_, '\x7F'):
                Remove(word ? WordBefore() : Before(), cursor);
                break;
            case (ConsoleKey.Delete, _) or (_, '\x04'):
                Remove(cursor, After());
                break;
            case (_, '\x15'):
                Remove(0, cursor);
                break;
            case (_, '\x0B'):
                Remove(cursor, line.Length);
                break;
            case (_, '\x0C'):
                Write("\e[H\e[2J");
                rowOfCursor = 0;
                break;
            case (_, >= ' ' and not '\x7F') when !key.Modifiers.HasFlag(ConsoleModifiers.Alt):
                Insert(key.KeyChar.ToString());
                break;
            case (_, '\t'):
                Insert("\t");
                break;
            default:
                break;
        }
    }

    // ESC [ 200 ~ text ESC [ 201 ~
    bool TryPaste()
    {
        const string begins = "[200~", ends = "\e[201~";
        foreach (char expected in begins)
        {
            if (!keyboard.HasKey || keyboard.Read() is not { } key || key.KeyChar != expected)
            {
                return true; // some other sequence: it is nothing that was typed
            }
        }
        StringBuilder pasted = new();
        while (keyboard.Read() is { } key)
        {
            pasted.Append(key.KeyChar == '\0' && key.Key == ConsoleKey.Enter ? '\n' : key.KeyChar);
            if (pasted.Length >= ends.Length && pasted.ToString(pasted.Length - ends.Length, ends.Length) == ends)
            {
                pasted.Length -= ends.Length;
                break;
            }
        }
        Insert(string.Concat(pasted.ToString().ReplaceLineEndings("\n").Where(c => c is '\n' or '\t' || !char.IsControl(c))));
        return true;
    }

    void Insert(string text)
    {
        line.Insert(cursor, text);
        cursor += text.Length;
    }

    void Remove(int start, int end)
    {
        line.Remove(start, end - start);
        cursor = start;
    }

    void Remember(string text)
    {
        if (text.Trim().Length > 0 && (history.Count == 0 || history[^1] != text))
        {
            history.Add(text);
            if (history.Count > MostHistory)
            {
                history.RemoveAt(0);
            }
        }
    }

    int Before()
    {
        int last = 0;
        foreach (int start in StringInfo.ParseCombiningCharacters(line.ToString()))
        {
            last = start < cursor ? start : last;
        }
        return last;
    }

    int After() => cursor + (cursor < line.Length ? StringInfo.GetNextTextElementLength(line.ToString().AsSpan(cursor)) : 0);

    int WordBefore()
    {
        int at = cursor;
        while (at > 0 && char.IsWhiteSpace(line[at - 1]))
        {
            at--;
        }
        while (at > 0 && !char.IsWhiteSpace(line[at - 1]))
        {
            at--;
        }
        return at;
    }

    int WordAfter()
    {
        int at = cursor;
        while (at < line.Length && char.IsWhiteSpace(line[at]))
        {
            at++;
        }
        while (at < line.Length && !char.IsWhiteSpace(line[at]))
        {
            at++;
        }
        return at;
    }

    static bool Is(ConsoleKeyInfo key, ConsoleKey with, char control) =>
        key.KeyChar == control || (key.Key == with && key.Modifiers == ConsoleModifiers.Control);

    // Draws the line anew where it is, and the cursor in it.
    void Draw()
    {
        Erase();
        (string text, int row, int column, int rows) = Layout();
        screen.Write(text);
        if (rows > row)
        {
            screen.Write($"\e[{rows - row}A");
        }
        screen.Write(column > 0 ? $"\r\e[{column}C" : "\r");
        rowOfCursor = row;
        screen.Flush();
    }

    void Erase()
    {
        screen.Write(rowOfCursor > 0 ? $"\e[{rowOfCursor}A\r\e[J" : "\r\e[J");
        rowOfCursor = 0;
    }

    void Finish()
    {
        cursor = line.Length;
        Draw();
        screen.Write("\r\n");
        screen.Flush();
        reading = false;
    }

    // The text with its prompts and breaks, where the cursor is in it, and how many rows there are after the first.
    (string Text, int Row, int Column, int Rows) Layout()
    {
        int columns = Math.Max(8, keyboard.Columns), row = 0, column = Prompt.Length, cursorRow = 0, cursorColumn = column;
        StringBuilder text = new(Prompt);
        string whole = line.ToString();
        for (int at = 0; at <= whole.Length;)
        {
            if (at == cursor)
            {
                (cursorRow, cursorColumn) = (row, column);
            }
            if (at == whole.Length)
            {
                break;
            }
            int length = StringInfo.GetNextTextElementLength(whole.AsSpan(at));
            string element = whole.Substring(at, length);
            if (element is "\n" or "\r\n")
            {
                text.Append("\r\n" + Continued);
                (row, column) = (row + 1, Continued.Length);
            }
            else
            {
                element = element == "\t" ? "    " : element;
                int width = CharacterWidth.Of(element);
                if (column + width > columns)
                {
                    text.Append("\r\n");
                    (row, column) = (row + 1, 0);
                    if (at == cursor)
                    {
                        (cursorRow, cursorColumn) = (row, column);
                    }
                }
                text.Append(element);
                column += width;
            }
            at += length;
        }
        if (column >= columns) // the terminal waits with the break until something follows
        {
            text.Append("\r\n");
            (row, column) = (row + 1, 0);
            if (cursor == whole.Length)
            {
                (cursorRow, cursorColumn) = (row, 0);
            }
        }
        return (text.ToString(), cursorRow, cursorColumn, row);
    }

    void Write(string text)
    {
        screen.Write(text);
        screen.Flush();
    }
}

/// <summary>The keyboard of the process.</summary>
internal sealed class ProcessKeyboard : IKeyboard
{
    public int Columns
    {
        get
        {
            try
            {
                return Console.WindowWidth is > 0 and int columns ? columns : 80;
            }
            catch (IOException)
            {
                return 80;
            }
        }
    }

    public bool HasKey => Console.KeyAvailable;

    public ConsoleKeyInfo? Read() => Console.ReadKey(intercept: true);
}
