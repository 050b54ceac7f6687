using System.CommandLine;
using System.Runtime.InteropServices;
using System.Text;
using KvCuda.Engine;
using KvCuda.Text;

namespace KvCuda.Cli;

/// <summary><c>kvcuda chat</c>: a conversation in the terminal, or of the lines of standard input.</summary>
internal static class ChatCommand
{
    public const string Name = "chat";

    /// <param name="terminal">who converses, in tests; null: whoever runs the process</param>
    public static Command Create(ChatTerminal? terminal = null)
    {
        ModelOptions model = new();
        SamplingOptions sampling = new(maxTokens: 512);
        Option<string?> system = new("--system") { Description = "The system message: instructions before the conversation." };
        Option<string?> template = new("--template")
        {
            Description = "A file with the chat template (Jinja), instead of the model folder's.",
        };

        Command command = new(Name, """
            Converse with a model. Lines of redirected standard input are turns, one after another; /help, as a line, lists the commands.
            A model without a chat template goes on with one running text: your lines and its answers.
            """);
        model.AddTo(command);
        sampling.AddTo(command);
        command.Add(system);
        command.Add(template);
        command.Add(model.KvReport);
        command.SetAction(async (parsed, cancellation) =>
        {
            GenerateOptions options = sampling.Generate(parsed);
            string folder = parsed.GetValue(model.Model)!;
            ChatTemplate? own = parsed.GetValue(template) is { } file ? ChatTemplate.LoadFile(file, folder) : null;
            KvEngine engine = await KvEngine.LoadAsync(folder, model.Engine(parsed) with { MaxSequences = 1 },
                cancellation: cancellation).ConfigureAwait(false);
            await using (engine.ConfigureAwait(false))
            {
                ChatTerminal here = terminal ?? ChatTerminal.OfProcess(parsed.InvocationConfiguration);
                int code = await Converse(engine, here, options, own, parsed.GetValue(system)).ConfigureAwait(false);
                if (parsed.GetValue(model.KvReport))
                {
                    await here.Notes.WriteLineAsync((await engine.GetKvStatusAsync().ConfigureAwait(false)).ToString()).ConfigureAwait(false);
                }
                if (parsed.GetValue(model.Stats))
                {
                    StatsPrinter.Print(engine.Model.Backend.Counters);
                }
                return code;
            }
        });
        return command;
    }

    static async Task<int> Converse(KvEngine engine, ChatTerminal terminal, GenerateOptions options, ChatTemplate? template, string? system)
    {
        if (engine.Tokenizer is null)
        {
            throw new InvalidRequestException($"{engine.ModelFolder} has no tokenizer.json; a conversation needs one. `kvcuda run --tokens` takes ids.");
        }
        ChatFormat format = template is not null
            ? new(engine.Tokenizer, template)
            : engine.LoadChatFormat() ?? ChatFormat.Continuation(engine.Tokenizer);
        if (format.IsContinuation)
        {
            await terminal.Notes.WriteLineAsync($"kvcuda: {engine.ModelFolder} has no chat template. Your lines and the answers are one running "
                + "text, with a line break before each of your lines; --template FILE gives a format.").ConfigureAwait(false);
        }
        ChatLoop loop = new(engine, terminal, format, options);
        using PosixSignalRegistration? interrupts = terminal.IsProcess
            ? PosixSignalRegistration.Create(PosixSignal.SIGINT, signal => { signal.Cancel = true; loop.Interrupt(); })
            : null;
        return await loop.RunAsync(system).ConfigureAwait(false);
    }
}

/// <summary>Where a conversation comes from and goes to.</summary>
/// <param name="Input">lines: turns and commands</param>
/// <param name="Output">answers</param>
/// <param name="Notes">everything else</param>
/// <param name="Interactive">somebody types the lines</param>
internal sealed record ChatTerminal(TextReader Input, TextWriter Output, TextWriter Notes, bool Interactive)
{
    /// <summary>Ctrl-C is the process's.</summary>
    public bool IsProcess { get; private init; }

    /// <summary>Reads the lines instead of <see cref="Input"/>, where somebody types them at a terminal.</summary>
    public LineEditor? Editor { get; init; }

    public static ChatTerminal OfProcess(InvocationConfiguration configuration)
    {
        // Text is UTF-8, whatever the locale says.
        UTF8Encoding utf8 = new(encoderShouldEmitUTF8Identifier: false);
        bool redirected = Console.IsInputRedirected;
        StreamWriter output = new(Console.OpenStandardOutput(), utf8) { AutoFlush = true };
        bool edits = !redirected && !Console.IsOutputRedirected && Environment.GetEnvironmentVariable("TERM") is not "dumb";
        return new(redirected ? new StreamReader(StandardStreams.OpenInput(), utf8) : Console.In, output, configuration.Error, !redirected)
        {
            IsProcess = true, Editor = edits ? new(new ProcessKeyboard(), output) : null,
        };
    }
}
