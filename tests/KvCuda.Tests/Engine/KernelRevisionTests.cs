using System.Security.Cryptography;
using System.Text.Json;
using KvCuda.Backends;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Tensors;
using KvCuda.Tests.HostRunner;

namespace KvCuda.Tests.Engine;

/// <summary>Stored bits never change unnoticed: pages and snapshots of other kernels would pass for one's own.</summary>
public sealed class KernelRevisionTests
{
    static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };

    [Theory]
    [InlineData("demo")]
    [InlineData("sandwich-bottom-4")]
    [InlineData("pizza-top-4")]
    public void The_bits_of_keys_and_values_on_the_CPU_are_those_of_its_kernel_revision(string model) =>
        Check(model, "cpu", KernelRevision.Cpu);

    [Fact]
    public void The_bits_of_keys_and_values_of_the_CUDA_kernels_are_those_of_their_revision()
    {
        HostRunnerLibrary.Require(plain: true);
        Check("demo", "cuda-host:plain", KernelRevision.Cuda);
    }

    /// <summary>KVCUDA_UPDATE=1 writes new hashes, but only for a revision that was raised.</summary>
    static void Check(string name, string device, int revision)
    {
        string path = Path.Combine(Repository.Root, "tests", "KvCuda.Tests", "Golden", "kv-bits.json");
        var known = JsonSerializer.Deserialize<SortedDictionary<string, Entry>>(File.ReadAllText(path))!;
        using LoadedModel model = LoadedModel.Load(Path.Combine(Repository.Root, "weights", name), new()
        {
            Device = device, Numerics = "consistent", MaxSequences = 2, MaxContext = 64, KvBudgetBytes = 4 << 20, PageTokens = 16,
        });
        string key = $"{model.Backend.Arithmetic}, {name}", hash = Hash(model);
        Entry? entry = known.GetValueOrDefault(key);
        Assert.SkipWhen(entry is null && model.Backend.Arithmetic == "cpu-amx", "no hash was recorded on a machine with AMX");
        if (Environment.GetEnvironmentVariable("KVCUDA_UPDATE") == "1" && entry?.Revision != revision)
        {
            known[key] = entry = new(revision, hash);
            File.WriteAllText(path, JsonSerializer.Serialize(known, Indented) + "\n");
        }
        Assert.True(entry?.Revision == revision,
            $"KernelRevision says {revision} for {key}, kv-bits.json has {entry?.Revision}: run this test with KVCUDA_UPDATE=1.");
        Assert.True(entry!.Sha256 == hash, $"{key}: the stored bits changed. If that is meant, raise KernelRevision, say so in "
            + "CHANGELOG.md, and run this test with KVCUDA_UPDATE=1.");
    }

    // Keys and values of 40 tokens, token after token, whatever the pages.
    static string Hash(LoadedModel model)
    {
        KvSequence sequence = model.Store.Open();
        model.Pass.Clear();
        Assert.Equal(0, model.Pass.TryAdd(sequence, [.. Enumerable.Range(1, 40).Select(i => i * 37 % 2048)], wanted: 1));
        model.Pass.Run();
        model.Pass.Accept(0);
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        for (int c = 0; c < model.Layout.Classes.Count; c++)
        {
            var codec = new KvTokenBytes(model.Layout, c);
            byte[] page = new byte[model.Layout.Classes[c].PageBytes], token = new byte[codec.Bytes];
            int[] table = new int[sequence.PageCount];
            sequence.WriteTable(c, table);
            for (int t = 0; t < sequence.Length; t++)
            {
                model.Memory.Arena.Read((long)table[t / model.Layout.PageTokens] * KvPageShape.GranuleBytes, page);
                codec.Gather(token, page, t % model.Layout.PageTokens);
                hash.AppendData(token);
            }
        }
        model.Store.Close(sequence);
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    /// <summary>What a revision stores.</summary>
    public sealed record Entry(int Revision, string Sha256);
}
