using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text.Json;
using KvCuda.Backends;
using KvCuda.Engine;
using KvCuda.KvStore;
using KvCuda.Tests.HostRunner;
using KvCuda.Tests.Weights;

namespace KvCuda.Tests.Engine;

/// <summary>Stored bits never change without a word: pages and snapshots of other kernels would be read as one's own.</summary>
public sealed class KernelRevisionTests : IDisposable
{
    static readonly string[] Models = ["demo", "sandwich-bottom-4", "pizza-top-4"];
    readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public Task The_bits_of_keys_and_values_on_the_CPU_are_those_of_its_kernel_revision() => Check("cpu", KernelRevision.Cpu);

    [Fact]
    public Task The_bits_of_keys_and_values_of_the_CUDA_kernels_are_those_of_their_revision()
    {
        HostRunnerLibrary.Require();
        return Check("cuda-host:plain", KernelRevision.Cuda);
    }

    /// <summary>KVCUDA_UPDATE=1 writes new hashes, but only beside a revision that was raised.</summary>
    async Task Check(string device, int revision)
    {
        string path = Path.Combine(Repository.Root, "tests", "KvCuda.Tests", "Golden", "kv-bits.json");
        var known = JsonSerializer.Deserialize<Dictionary<string, Dictionary<string, string>>>(await File.ReadAllTextAsync(path))!;
        foreach (string model in device == "cpu" ? Models : Models[..1])
        {
            await using var engine = await KvEngine.LoadAsync(Path.Combine(Repository.Root, "weights", model),
                new() { Device = device, Numerics = "consistent", MaxSequences = 2, MaxContext = 128, KvBudgetBytes = 4 << 20 });
            string kind = engine.Device.Contains("AMX", StringComparison.Ordinal) ? "cpu-amx" : device.Split(':')[0];
            string key = $"{kind} {model}", file = folder[$"{model}.kv"];
            await engine.SaveAsync([.. Enumerable.Range(1, 40).Select(i => i * 37 % 2048)], file);
            string hash = Hash(await File.ReadAllBytesAsync(file));

            Dictionary<string, string>? entry = known.GetValueOrDefault(key);
            Assert.SkipWhen(entry is null && kind == "cpu-amx", "no hash was recorded on a machine with AMX");
            if (Environment.GetEnvironmentVariable("KVCUDA_UPDATE") == "1" && entry?["revision"] != $"{revision}")
            {
                known[key] = new() { ["revision"] = $"{revision}", ["sha256"] = hash };
                await File.WriteAllTextAsync(path, JsonSerializer.Serialize(known, new JsonSerializerOptions { WriteIndented = true }) + "\n");
                continue;
            }
            Assert.True(entry is not null && entry["revision"] == $"{revision}",
                $"KernelRevision says {revision} for {key}, the hashes are of {entry?["revision"]}: run this test once with KVCUDA_UPDATE=1.");
            Assert.True(entry["sha256"] == hash,
                $"{key}: the stored bits changed. If that is meant, raise KernelRevision, say so in CHANGELOG.md, and run this test "
                + "once with KVCUDA_UPDATE=1.");
        }
    }

    // Keys and values only: what precedes them names the files of the model, whose texts may change.
    static string Hash(byte[] snapshot) => Convert.ToHexStringLower(SHA256.HashData(snapshot.AsSpan(
        (KvSnapshotHeader.FixedBytes + BinaryPrimitives.ReadInt32LittleEndian(snapshot.AsSpan(12)) + KvSnapshotWriter.DigestBytes)..)));
}
