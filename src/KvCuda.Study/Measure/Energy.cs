// Energy counters of the machine: RAPL of the processor, NVML of a GPU, where the system lets us read them.
using System.Globalization;
using System.Runtime.InteropServices;

namespace KvCuda.Study;

/// <summary>Joules since some moment, from the first counter that can be read.</summary>
internal static class Energy
{
    const string Rapl = "/sys/class/powercap/intel-rapl:0/energy_uj";

    /// <summary>What is read, or why nothing is.</summary>
    public static string Source => Joules(false) is not null ? "RAPL, package 0"
        : File.Exists(Rapl) ? "RAPL is there, but only root may read it" : "this machine shows no RAPL counter";

    /// <summary>The counter now; null where there is none that may be read.</summary>
    /// <param name="gpu">ask the GPU instead of the processor</param>
    public static double? Joules(bool gpu)
    {
        if (gpu)
        {
            return Nvml.Millijoules() is { } mJ ? mJ / 1e3 : null;
        }
        try
        {
            return File.Exists(Rapl) ? double.Parse(File.ReadAllText(Rapl), CultureInfo.InvariantCulture) / 1e6 : null;
        }
        catch (Exception denied) when (denied is UnauthorizedAccessException or IOException)
        {
            return null;
        }
    }

    // nvmlDeviceGetTotalEnergyConsumption: Volta and newer. Not run on a GPU yet.
    static unsafe class Nvml
    {
        public static double? Millijoules()
        {
            if (!NativeLibrary.TryLoad(OperatingSystem.IsWindows() ? "nvml.dll" : "libnvidia-ml.so.1", out nint library))
            {
                return null;
            }
            try
            {
                if (!NativeLibrary.TryGetExport(library, "nvmlInit_v2", out nint init)
                    || !NativeLibrary.TryGetExport(library, "nvmlDeviceGetHandleByIndex_v2", out nint handleOf)
                    || !NativeLibrary.TryGetExport(library, "nvmlDeviceGetTotalEnergyConsumption", out nint energyOf))
                {
                    return null;
                }
                nint device;
                ulong energy;
                return ((delegate* unmanaged<int>)init)() == 0
                    && ((delegate* unmanaged<uint, nint*, int>)handleOf)(0, &device) == 0
                    && ((delegate* unmanaged<nint, ulong*, int>)energyOf)(device, &energy) == 0 ? energy : null;
            }
            finally
            {
                NativeLibrary.Free(library);
            }
        }
    }
}
