namespace KvCuda.Cli;

/// <summary>What was read from a file or from standard input is wrong: the command line was right, and the job failed.</summary>
internal sealed class InputException(string message, Exception? inner = null) : IOException(message, inner);
