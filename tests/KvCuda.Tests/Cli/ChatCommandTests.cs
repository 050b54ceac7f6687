using KvCuda.Cli;
using KvCuda.Engine;
using KvCuda.Tests.Weights;
using KvCuda.Text;

namespace KvCuda.Tests.Cli;

/// <summary>Conversations as scripts on standard input, and as somebody who types and presses Ctrl-C would have them.</summary>
public sealed class ChatCommandTests : IDisposable
{
    static readonly string[] twelve = ["-n", "12"];

    readonly TemporaryFolder folder = new();

    public ChatCommandTests() => folder.Write("lines.jinja", """
        {% for m in messages %}<{{ m.role }}> {{ m.content }}
        {% endfor %}{% if add_generation_prompt %}<assistant> {% endif %}
        """);

    public void Dispose() => folder.Dispose();

    static (int Code, string[] Answers, string Notes) Script(string lines, params string[] args)
    {
        using StringWriter output = new(), notes = new();
        ChatTerminal terminal = new(new StringReader(lines), output, notes, Interactive: false);
        int code = CommandLine.Run(["chat", Repository.Demo, "--device", "cpu", "--threads", "1", "--page-tokens", "16", .. args, .. args.Contains("-n") ? [] : twelve],
            [ChatCommand.Create(terminal)], notes, notes);
        return (code, output.ToString().Split('\n'), notes.ToString());
    }

    [Fact]
    public async Task Each_line_of_a_script_is_a_turn_and_only_answers_go_to_the_output()
    {
        (int code, string[] answers, string notes) = Script("Call me\n\nAnd the whale\n", "--template", folder["lines.jinja"]);
        Assert.Equal((0, ""), (code, notes));
        await using KvEngine engine = await KvEngine.LoadAsync(Repository.Demo, new() { Device = "cpu", Threads = 1 });
        string first = (await engine.CompleteAsync("<user> Call me\n<assistant> ", new() { MaxTokens = 12 })).Text;
        Assert.StartsWith(first + "\n", string.Join('\n', answers), StringComparison.Ordinal);
        Assert.Equal("", answers[^1]);
    }

    [Fact]
    public async Task A_system_text_is_what_the_model_reads_first()
    {
        (_, string[] answers, _) = Script("Call me\n", "--template", folder["lines.jinja"], "--system", "Be brief.");
        await using KvEngine engine = await KvEngine.LoadAsync(Repository.Demo, new() { Device = "cpu", Threads = 1 });
        GenerationResult expected = await engine.CompleteAsync("<system> Be brief.\n<user> Call me\n<assistant> ", new() { MaxTokens = 12 });
        Assert.Equal(expected.Text + "\n", string.Join('\n', answers));
    }

    [Fact]
    public void A_conversation_that_was_saved_goes_on_as_if_it_had_not_been_left()
    {
        (_, string[] whole, _) = Script("Call me\nAnd the whale\n");
        (_, string[] first, _) = Script($"Call me\n/save {folder["talk"]}\n");
        (_, string[] second, _) = Script($"/load {folder["talk"]}\nAnd the whale\n");
        Assert.Equal(string.Join('\n', whole), string.Join('\n', first) + string.Join('\n', second));
    }

    [Fact]
    public void Commands_take_back_keep_and_tell()
    {
        string file = folder["talk.json"];
        (int code, string[] answers, string notes) = Script($"""
            Call me
            /undo
            Call me
            /system You are a whale.
            /system
            /save {file}
            /reset
            /stats
            /load {file}
            /stats
            /system off
            //stats
            /help
            /exit
            Never said
            """, "--template", folder["lines.jinja"]);
        Assert.Equal(0, code);
        Assert.Contains("Taken back: Call me", notes, StringComparison.Ordinal);
        Assert.Contains("The system text is set", notes, StringComparison.Ordinal);
        Assert.Contains("\nYou are a whale.\n", notes, StringComparison.Ordinal);
        Assert.Contains($"Saved to {file}, with keys and values in {file}.kv.", notes, StringComparison.Ordinal);
        Assert.Contains("conversation: 1 messages", notes, StringComparison.Ordinal);
        Assert.Contains("Loaded 3 messages and the keys and values of", notes, StringComparison.Ordinal);
        Assert.Contains("conversation: 3 messages", notes, StringComparison.Ordinal);
        Assert.Contains("answers: 2 | prompts", notes, StringComparison.Ordinal);
        Assert.Contains("| first token ", notes, StringComparison.Ordinal);
        Assert.Contains("The system text is gone.", notes, StringComparison.Ordinal);
        Assert.Contains("/undo          takes back", notes, StringComparison.Ordinal);
        Assert.DoesNotContain("Never said", notes, StringComparison.Ordinal);
        Assert.NotEmpty(answers);
    }

    [Fact]
    public void An_answer_taken_back_is_given_again()
    {
        (_, string[] once, _) = Script("Call me\n");
        (_, string[] twice, _) = Script("Call me\n/undo\nCall me\n");
        string answer = string.Join('\n', once);
        Assert.Equal(answer + answer, string.Join('\n', twice));
    }

    [Fact]
    public void A_model_without_a_template_goes_on_with_one_text_and_says_so()
    {
        (int code, string[] answers, string notes) = Script("Call me\n");
        Assert.Equal(0, code);
        Assert.Contains("has no chat template", notes, StringComparison.Ordinal);
        Assert.Contains("--template FILE", notes, StringComparison.Ordinal);
        Assert.StartsWith(", and I will be my God.", answers[0], StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("Call me\n/dance\nNever said\n", "line 2: There is no command /dance; /help lists them. To say it, write //dance.")]
    [InlineData("/undo\n", "line 1: There is nothing to take back.")]
    [InlineData("/save\n", "line 1: /save needs the name of a file.")]
    [InlineData("/load /nowhere/talk.json\n", "line 1: The conversation /nowhere/talk.json cannot be read")]
    [InlineData("/save /nowhere/talk.json\n", "line 1: The conversation could not be written to /nowhere/talk.json")]
    public void A_line_that_cannot_be_done_ends_a_script_with_its_number(string lines, string message)
    {
        (int code, string[] answers, string notes) = Script(lines);
        Assert.Equal(1, code);
        Assert.Contains("kvcuda: " + message, notes, StringComparison.Ordinal);
        Assert.Equal(lines.StartsWith('C') ? 1 : 0, answers.Count(line => line.Contains("God", StringComparison.Ordinal)));
    }

    [Fact]
    public void A_full_context_says_what_makes_room()
    {
        (int code, _, string notes) = Script("Call me\n", "-n", "400", "--ignore-eos");
        Assert.Equal(0, code);
        Assert.Contains("the context of 256 tokens is full: /undo or /reset makes room", notes, StringComparison.Ordinal);
        (code, _, notes) = Script("Call me\nMore\n", "-n", "400", "--ignore-eos");
        Assert.Equal(1, code);
        Assert.Contains("line 2: The prompt has", notes, StringComparison.Ordinal);
        Assert.Contains("The conversation is as it was", notes, StringComparison.Ordinal);
        (code, string[] answers, _) = Script("Call me\nMore\n", "-n", "300", "--ignore-eos", "--when-full", "slide");
        Assert.Equal(0, code);
        Assert.True(string.Join('\n', answers).Length > 1000);
    }

    [Theory]
    [InlineData("--template", "/nowhere.jinja", 1, "/nowhere.jinja")]
    [InlineData("--top-p", "7", 1, "TopP is 7")]
    [InlineData("--when-full", "burst", 2, "burst")]
    public void Options_that_cannot_be_are_one_line(string option, string value, int expected, string message)
    {
        (int code, _, string notes) = Script("Call me\n", option, value);
        Assert.Equal(expected, code);
        Assert.Contains(message, notes, StringComparison.Ordinal);
    }

    // Whoever reads the answer presses Ctrl-C when enough of it is there.
    sealed class Reader : StringWriter
    {
        public Action? Enough { get; set; }

        public override Task WriteAsync(string? value)
        {
            Write(value);
            if (ToString().Length > 30 && Enough is { } enough)
            {
                Enough = null;
                enough();
            }
            return Task.CompletedTask;
        }
    }

    [Fact]
    public async Task The_first_interrupt_stops_the_answer_the_second_leaves()
    {
        await using KvEngine engine = await KvEngine.LoadAsync(Repository.Demo, new() { Device = "cpu", Threads = 1 });
        foreach (int presses in (int[])[1, 2])
        {
            using Reader output = new();
            using StringWriter notes = new();
            ChatTerminal terminal = new(new StringReader("Call me\n/stats\n"), output, notes, Interactive: true);
            ChatLoop loop = new(engine, terminal, ChatFormat.Continuation(engine.Tokenizer!), new() { MaxTokens = 250, IgnoreEos = true });
            output.Enough = () =>
            {
                for (int press = 0; press < presses; press++)
                {
                    loop.Interrupt();
                }
            };
            Assert.Equal(0, await loop.RunAsync(null));
            Assert.Contains("(stopped; what was said stays)", notes.ToString(), StringComparison.Ordinal);
            Assert.Equal(presses == 1, notes.ToString().Contains("conversation: 2 messages", StringComparison.Ordinal));
            await engine.CompleteAsync("A step later", new() { MaxTokens = 2 });
            Assert.Equal(0, (await engine.GetKvStatusAsync()).ActiveBytes);
        }
    }

    // Somebody who types nothing.
    sealed class Silence : TextReader
    {
        readonly ManualResetEventSlim end = new();

        public Action? Asked { get; set; }

        public override string? ReadLine()
        {
            Asked?.Invoke();
            end.Wait();
            return null;
        }

        protected override void Dispose(bool disposing)
        {
            end.Set();
            base.Dispose(disposing);
        }
    }

    [Fact]
    public async Task At_the_prompt_one_interrupt_says_how_to_leave_and_two_leave()
    {
        await using KvEngine engine = await KvEngine.LoadAsync(Repository.Demo, new() { Device = "cpu", Threads = 1 });
        using StringWriter output = new(), notes = new();
        using Silence input = new();
        ChatLoop loop = new(engine, new(input, output, notes, Interactive: true), ChatFormat.Continuation(engine.Tokenizer!), new());
        input.Asked = () =>
        {
            loop.Interrupt();
            Assert.Contains("Ctrl-C again, or /exit, leaves", notes.ToString(), StringComparison.Ordinal);
            loop.Interrupt();
        };
        Assert.Equal(0, await loop.RunAsync("Be brief."));
    }
}
