using System.CommandLine;
using KvCuda.Cli;

// Exit codes: 0 done, 1 the job failed, 2 the command line was wrong.
return CommandLine.Run(args,
[
    RunCommand.Create(),
    ChatCommand.Create(),
    LogitsCommand.Create(),
    PerplexityCommand.Create(),
    TokenizeCommand.Create(),
    InspectCommand.Create(),
    ConvertCommand.Create(),
    InitCommand.Create(),
    DoctorCommand.Create(),
]);
