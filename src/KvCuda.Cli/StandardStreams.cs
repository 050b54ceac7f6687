using System.Runtime.InteropServices;

namespace KvCuda.Cli;

/// <summary>
/// Standard streams that whoever started the process has closed (<c>kvcuda run MODEL 2&gt;&amp;-</c>). Their numbers do not stay free: the
/// run time takes them for files and pipes of its own, so that reading would wait for ever and writing go who knows where.
/// </summary>
internal static partial class StandardStreams
{
    const int GetFlags = 1, CloseOnExec = 1; // F_GETFD, FD_CLOEXEC

    static bool noInput;

    /// <summary>Puts nothing in the place of closed input and closed errors.</summary>
    /// <returns>false: output is closed, so that nothing can be done</returns>
    public static bool Prepare()
    {
        if (OperatingSystem.IsWindows())
        {
            return true;
        }
        noInput = IsClosed(0);
        if (noInput)
        {
            Console.SetIn(TextReader.Null);
        }
        if (IsClosed(2))
        {
            Console.SetError(TextWriter.Null);
        }
        return !IsClosed(1);
    }

    /// <summary>Standard input, or nothing.</summary>
    public static Stream OpenInput() => noInput ? Stream.Null : Console.OpenStandardInput();

    // What a process inherits never closes on exec, or it would not have been inherited; what the run time opens does.
    static bool IsClosed(int stream) => Fcntl(stream, GetFlags) is var flags && (flags < 0 || (flags & CloseOnExec) != 0);

    [LibraryImport("libc", EntryPoint = "fcntl")]
    private static partial int Fcntl(int stream, int command);
}
