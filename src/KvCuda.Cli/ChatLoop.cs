using System.Globalization;
using KvCuda.Engine;
using KvCuda.Text;

namespace KvCuda.Cli;

/// <summary>Line after line: a turn of the conversation, or a command about it.</summary>
internal sealed class ChatLoop(KvEngine engine, ChatTerminal terminal, ChatFormat format, GenerateOptions options)
{
    const string Help = """
        /system TEXT   what the model is told before everything; /system alone shows it, /system off removes it
        /undo          takes back your last line and its answer
        /reset         forgets the conversation, and keeps the system text
        /save FILE     writes the conversation, with its keys and values in FILE.kv
        /load FILE     goes on with a saved one
        /stats         tokens, how many were cached, and how fast it goes
        /help          this
        /exit          leaves, as the end of input does
        //TEXT         says /TEXT
        Alt-Enter breaks a line; what is pasted is one message. Up and Down: earlier lines.
        Ctrl-C stops an answer; twice in a row, it leaves.
        """;

    readonly TaskCompletionSource leave = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly Lock gate = new();
    KvConversation conversation = engine.OpenConversation(format);
    CancellationTokenSource? answering;
    GenerationResult? last;
    long prompted, cached, generated;
    int turns, interrupts;

    /// <summary>Ctrl-C: the first one stops the answer that comes, a second one without a line in between ends the conversation.</summary>
    public void Interrupt()
    {
        lock (gate)
        {
            answering?.Cancel();
            if (++interrupts > 1)
            {
                leave.TrySetResult();
            }
            else if (answering is null)
            {
                if (terminal.Editor is { } editor)
                {
                    editor.Note("(Ctrl-C again, or /exit, leaves)");
                    return;
                }
                terminal.Notes.WriteLine("\n(Ctrl-C again, or /exit, leaves)");
                if (terminal.Interactive)
                {
                    terminal.Output.Write("> ");
                }
            }
        }
    }

    /// <summary>Converses until the input ends or somebody leaves.</summary>
    /// <returns>the exit code: a line of a script that cannot be done ends the script</returns>
    public async Task<int> RunAsync(string? system)
    {
        if (system is not null)
        {
            conversation.SetSystem(system);
        }
        if (terminal.Interactive)
        {
            Note($"{engine.ModelFolder} on {engine.Device}, context {engine.MaxContext}. /help lists the commands.");
        }
        try
        {
            terminal.Editor?.Begin();
            for (int number = 1; ; number++)
            {
                if (terminal is { Interactive: true, Editor: null })
                {
                    await terminal.Output.WriteAsync("> ").ConfigureAwait(false);
                }
                // Reading cannot be broken off, so whoever leaves does not wait for it.
                Task<string?> reading = Task.Run(() => terminal.Editor is { } editor ? editor.ReadLine() : terminal.Input.ReadLine());
                await Task.WhenAny(reading, leave.Task).ConfigureAwait(false);
                if (leave.Task.IsCompleted || await reading.ConfigureAwait(false) is not { } line)
                {
                    if (terminal.Interactive)
                    {
                        await terminal.Output.WriteLineAsync().ConfigureAwait(false);
                    }
                    return CommandLine.Done;
                }
                lock (gate)
                {
                    interrupts = 0;
                }
                try
                {
                    if (!await DoAsync(line.Trim()).ConfigureAwait(false))
                    {
                        return CommandLine.Done;
                    }
                }
                catch (KvCudaException error) when (terminal.Interactive)
                {
                    Note($"kvcuda: {error.Message.ReplaceLineEndings(" ")}");
                }
                catch (KvCudaException error)
                {
                    Note($"kvcuda: line {number}: {error.Message.ReplaceLineEndings(" ")}");
                    return CommandLine.JobFailed;
                }
            }
        }
        finally
        {
            terminal.Editor?.End();
            await conversation.DisposeAsync().ConfigureAwait(false);
        }
    }

    // Returns whether to go on.
    async Task<bool> DoAsync(string line)
    {
        if (line.Length == 0)
        {
            return true;
        }
        if (line[0] != '/' || line.StartsWith("//", StringComparison.Ordinal))
        {
            await SayAsync(line[0] == '/' ? line[1..] : line).ConfigureAwait(false);
            return !leave.Task.IsCompleted;
        }
        string[] words = line.Split((char[]?)null, 2, StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        string? rest = words.Length > 1 ? words[1] : null;
        switch (words[0])
        {
            case "/exit" or "/quit":
                return false;
            case "/help":
                Note(Help);
                break;
            case "/stats":
                Note(Stats());
                break;
            case "/system":
                System(rest);
                break;
            case "/reset":
                conversation.RewindTo(HasSystem ? 1 : 0);
                Note("The conversation begins anew.");
                break;
            case "/undo":
                Undo();
                break;
            case "/save":
                await SaveAsync(rest ?? throw new InvalidRequestException("/save needs the name of a file.")).ConfigureAwait(false);
                break;
            case "/load":
                await LoadAsync(rest ?? throw new InvalidRequestException("/load needs the name of a file.")).ConfigureAwait(false);
                break;
            default:
                throw new InvalidRequestException($"There is no command {words[0]}; /help lists them. To say it, write /{words[0]}.");
        }
        return true;
    }

    async Task SayAsync(string text)
    {
        using CancellationTokenSource stop = new();
        lock (gate)
        {
            answering = stop;
        }
        GenerationResult? result = null;
        bool begun = false;
        try
        {
            await foreach (GeneratedPiece piece in conversation.SayAsync(text, options, cancellation: stop.Token).ConfigureAwait(false))
            {
                await terminal.Output.WriteAsync(piece.Text).ConfigureAwait(false);
                begun |= piece.Text.Length > 0;
                result = piece.Result ?? result;
            }
        }
        catch (OperationCanceledException)
        {
            Note(begun ? "\n(stopped; what was said stays)" : "(stopped before anything was said)");
        }
        catch (Exception error) when (error is InvalidRequestException or KvBudgetException)
        {
            throw new InvalidRequestException($"{error.Message} The conversation is as it was; /undo or /reset makes room"
                + (options.WhenFull == ContextFull.Stop ? ", --when-full slide goes on without." : "."), error);
        }
        finally
        {
            lock (gate)
            {
                answering = null;
            }
        }
        if (result is null)
        {
            return;
        }
        last = result;
        turns++;
        prompted += result.PromptTokens;
        cached += result.CachedTokens;
        generated += result.GeneratedTokens;
        await terminal.Output.WriteLineAsync().ConfigureAwait(false);
        string? note = result.FinishReason switch
        {
            FinishReason.MaxTokens => $"({options.MaxTokens} tokens; -n allows more)",
            FinishReason.ContextFull => $"(the context of {engine.MaxContext} tokens is full: /undo or /reset makes room, --when-full slide goes on without)",
            _ => null,
        };
        if (note is not null && (terminal.Interactive || result.FinishReason == FinishReason.ContextFull))
        {
            Note(note);
        }
    }

    bool HasSystem => conversation.Messages is [{ Role: "system" }, ..];

    void System(string? text)
    {
        if (text is null)
        {
            Note(HasSystem ? conversation.Messages[0].Content : "There is no system text.");
            return;
        }
        conversation.SetSystem(text == "off" ? null : text);
        Note(text == "off" ? "The system text is gone." : "The system text is set; the conversation goes on under it.");
    }

    void Undo()
    {
        IReadOnlyList<ChatMessage> messages = conversation.Messages;
        int at = messages.Count - 1;
        while (at >= 0 && messages[at].Role != "user")
        {
            at--;
        }
        if (at < 0)
        {
            throw new InvalidRequestException("There is nothing to take back.");
        }
        conversation.RewindTo(at);
        Note($"Taken back: {messages[at].Content}");
    }

    async Task SaveAsync(string file)
    {
        bool withKeys = await conversation.SaveAsync(file).ConfigureAwait(false);
        Note(withKeys ? $"Saved to {file}, with keys and values in {file}.kv." : $"Saved to {file}, without keys and values.");
    }

    async Task LoadAsync(string file)
    {
        KvConversation loaded;
        try
        {
            loaded = await engine.RestoreConversationAsync(file, format).ConfigureAwait(false);
        }
        catch (KvStore.KvSnapshotException damaged)
        {
            loaded = engine.RestoreMessages(file, format);
            Note($"The keys and values cannot be used, and are computed again with the next turn: {damaged.Message.ReplaceLineEndings(" ")}");
        }
        await conversation.DisposeAsync().ConfigureAwait(false);
        conversation = loaded;
        Note($"Loaded {loaded.Messages.Count} messages" + (loaded.TokenCount > 0 ? $" and the keys and values of {loaded.TokenCount} tokens." : "."));
    }

    string Stats()
    {
        string now = string.Create(CultureInfo.InvariantCulture,
            $"conversation: {conversation.Messages.Count} messages, {conversation.TokenCount} tokens of a context of {engine.MaxContext}\n"
            + $"answers: {turns} | prompts {prompted} tokens, of which cached {cached} | generated {generated}");
        return last is null ? now : $"{now}\nlast answer: {RunCommand.Figures(engine, last)}";
    }

    void Note(string text) => terminal.Notes.WriteLine(text);
}
