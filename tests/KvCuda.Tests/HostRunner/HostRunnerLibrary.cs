using System.Diagnostics;
using System.Runtime.InteropServices;

namespace KvCuda.Tests.HostRunner;

/// <summary>The host runner (tests/HostRunner), built once per test run; where it cannot be, tests skip and say why.</summary>
internal static class HostRunnerLibrary
{
    static readonly Lazy<(string? Folder, string Why)> built = new(Build);

    /// <summary>The path of the library that checks every access, or of the plain one that only runs.</summary>
    public static string Require(bool plain = false)
    {
        (string? folder, string why) = built.Value;
        if (folder is null)
        {
            Assert.Skip("no host runner: " + why);
        }
        return Path.Combine(folder!, plain ? "libkvcuda-host-plain.so" : "libkvcuda-host.so");
    }

    static (string?, string) Build()
    {
        if (!OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64)
        {
            return (null, $"it needs Linux on x86-64, this is {RuntimeInformation.RuntimeIdentifier}");
        }
        string script = Path.Combine(Repository.Root, "tests", "HostRunner", "build.sh");
        using Process build = Process.Start(new ProcessStartInfo("bash", [script])
        {
            RedirectStandardError = true,
            RedirectStandardOutput = true,
        })!;
        Task<string> output = build.StandardOutput.ReadToEndAsync();
        string error = build.StandardError.ReadToEnd();
        build.WaitForExit();
        const int MissingCompiler = 3;
        if (build.ExitCode == MissingCompiler)
        {
            return (null, error.Trim());
        }
        Assert.True(build.ExitCode == 0, $"{script} failed:\n{output.Result}{error}");
        return (Path.Combine(Repository.Root, "artifacts", "host-runner"), "");
    }
}
