using System.Security.Cryptography;
using System.Text;
using KvCuda.Kernels;

namespace KvCuda.GpuBench;

/// <summary>Which text of kernels/shared/ptx.cuh, the only inline PTX, is in this build.</summary>
internal static class PtxText
{
    /// <summary>The first 12 digits of its SHA-256.</summary>
    public static string Hash { get; } =
        Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(KernelFiles.Embedded.Text("kernels/shared/ptx.cuh"))))[..12];

    /// <summary>The device and date of a run in a folder of results whose tests passed with this text; null if there is none.</summary>
    public static string? PassedOn(string results)
    {
        foreach (string path in Directory.Exists(results) ? Directory.GetFiles(results, "*.json") : [])
        {
            var root = System.Text.Json.Nodes.JsonNode.Parse(File.ReadAllText(path));
            if ((string?)root?["run"]?["ptx"] == Hash && root["sections"]?["tests"] is { } tests && (string?)tests["state"] == "done"
                && tests["figures"]!.AsArray().Any(f => (string?)f!["key"] == "tests/failed" && f["value"]!.GetValue<double>() == 0))
            {
                return $"{root["run"]!["device"]}, {root["run"]!["date"]}";
            }
        }
        return null;
    }
}
