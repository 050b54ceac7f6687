using KvCuda.Cli;

// Exit codes: 0 done, 1 the job failed, 2 the command line was wrong.
if (!StandardStreams.Prepare())
{
    Console.Error.WriteLine("kvcuda: standard output is closed.");
    return CommandLine.JobFailed;
}
return CommandLine.Run(args, Commands.All());
