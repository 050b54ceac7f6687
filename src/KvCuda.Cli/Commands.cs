using System.CommandLine;

namespace KvCuda.Cli;

/// <summary>Every command, in the order in which help lists them.</summary>
internal static class Commands
{
    /// <summary>New instances: a command keeps state of one parse.</summary>
    public static Command[] All() =>
    [
        RunCommand.Create(),
        ChatCommand.Create(),
        ServeCommand.Create(),
        LogitsCommand.Create(),
        PerplexityCommand.Create(),
        TokenizeCommand.Create(),
        InspectCommand.Create(),
        ConvertCommand.Create(),
        InitCommand.Create(),
        StudyCommand.Create(),
        PlanCommand.Create(),
        BenchCommand.Create(),
        CompareCommand.Create(),
        DoctorCommand.Create(),
    ];
}
