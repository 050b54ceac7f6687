using System.CommandLine;

namespace KvCuda.Cli;

/// <summary>The frame around all commands: parsing, exit codes, and errors in one line.</summary>
internal static class CommandLine
{
    public const int Done = 0, JobFailed = 1, WrongUsage = 2;

    /// <summary>Runs the command that the arguments name.</summary>
    public static int Run(string[] args, Command[] commands, TextWriter? output = null, TextWriter? error = null)
    {
        var root = new RootCommand("LLM inference with a key/value store that layers, requests and sessions share");
        foreach (Command command in commands)
        {
            root.Subcommands.Add(command);
        }
        ParseResult parse = root.Parse(args);
        var configuration = new InvocationConfiguration { EnableDefaultExceptionHandler = false };
        configuration.Output = output ?? configuration.Output;
        configuration.Error = error ?? configuration.Error;
        if (parse.Errors.Count > 0)
        {
            foreach (string message in parse.Errors.Select(e => e.Message).Distinct())
            {
                configuration.Error.WriteLine($"kvcuda: {message}");
            }
            Command asked = parse.CommandResult.Command;
            configuration.Error.WriteLine(asked == root ? "Try: kvcuda --help" : $"Try: kvcuda {asked.Name} --help");
            return WrongUsage;
        }
        if (parse.CommandResult.Command.Name is ChatCommand.Name or ServeCommand.Name)
        {
            configuration.ProcessTerminationTimeout = null; // there, Ctrl-C stops an answer, or lets them end, and not the process
        }
        try
        {
            return parse.Invoke(configuration);
        }
        catch (InvalidRequestException wrong)
        {
            configuration.Error.WriteLine($"kvcuda: {wrong.Message.ReplaceLineEndings(" ")}");
            return WrongUsage;
        }
        catch (KvCudaException failure)
        {
            configuration.Error.WriteLine($"kvcuda: {failure.Message.ReplaceLineEndings(" ")}");
            return JobFailed;
        }
        catch (OperationCanceledException)
        {
            configuration.Error.WriteLine("kvcuda: cancelled.");
            return JobFailed;
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            configuration.Error.WriteLine($"kvcuda: {failure.Message.ReplaceLineEndings(" ")}");
            return JobFailed;
        }
    }
}
