using System.CommandLine;
using KvCuda.Cli;

// Exit codes: 0 done, 1 the job failed, 2 the command line was wrong.
return CommandLine.Run(args,
[
    RunCommand.Create(),
    LogitsCommand.Create(),
<<<<<<< HEAD
    InspectCommand.Create(),
    DoctorCommand.Create(),
]);
=======
    DoctorCommand.Create(),
};
ParseResult parsed = root.Parse(args);
if (parsed.Errors.Count > 0)
{
    foreach (var error in parsed.Errors)
    {
        Console.Error.WriteLine($"kvcuda: {error.Message}");
    }
    Console.Error.WriteLine("Try 'kvcuda --help', or --help after a command.");
    return 2;
}
try
{
    return await parsed.InvokeAsync(new() { EnableDefaultExceptionHandler = false }).ConfigureAwait(false);
}
catch (KvCudaException error)
{
    Console.Error.WriteLine($"kvcuda: {error.Message}");
    return error is InvalidRequestException ? 2 : 1;
}
catch (OperationCanceledException)
{
    Console.Error.WriteLine("kvcuda: cancelled.");
    return 1;
}
>>>>>>> f09a261 (The store is told how long a prompt chunk can be)
