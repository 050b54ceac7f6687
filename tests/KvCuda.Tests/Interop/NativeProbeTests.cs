using KvCuda.Interop;

namespace KvCuda.Tests.Interop;

public class NativeProbeTests
{
    [Fact]
    public void What_is_not_there_is_told_with_the_path_and_the_reason()
    {
        NativeProbe probe = NativeProbe.Library("the host runner", "/nowhere/libkvcuda-host.so");
        Assert.Null(probe.Path);
        string message = probe.NotFound("Build it with tests/HostRunner/build.sh.").Message;
        Assert.Contains("the host runner was not found. Build it with", message, StringComparison.Ordinal);
        Assert.Contains("/nowhere/libkvcuda-host.so: no such file", message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_file_that_is_no_library_is_told_in_the_loaders_words()
    {
        string file = Path.GetTempFileName();
        try
        {
            File.WriteAllText(file, "not a library, but long enough that a loader looks at its first bytes");
            ProbeAttempt attempt = Assert.Single(NativeProbe.Library("a library", file).Attempts);
            Assert.Equal(file, attempt.Path);
            Assert.NotEmpty(attempt.Error!);
        }
        finally
        {
            File.Delete(file);
        }
    }

    [Fact]
    public void The_compiler_of_the_drivers_version_is_tried_before_a_later_one()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "the names differ there");
        string[] old = [.. NvrtcPaths.Candidates(12).Where(p => p.StartsWith("libnvrtc.so.", StringComparison.Ordinal))];
        Assert.Equal(["libnvrtc.so.12", "libnvrtc.so.13"], old[..2]);
        string[] current = [.. NvrtcPaths.Candidates(13).Where(p => p.StartsWith("libnvrtc.so.", StringComparison.Ordinal))];
        Assert.Equal(["libnvrtc.so.13", "libnvrtc.so.12"], current[..2]);
    }

    [Fact]
    public void Results_of_the_driver_have_a_usual_meaning()
    {
        Assert.Contains("memory is full", CudaResults.Meaning(2), StringComparison.Ordinal);
        Assert.Contains("nvidia-smi", CudaResults.Meaning(100), StringComparison.Ordinal);
        Assert.Null(CudaResults.Meaning(123456));
    }
}
