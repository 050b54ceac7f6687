// How a model is loaded: memory of its own, memory of the device, and an identity that stays.
using KvCuda.Backends;
using KvCuda.Engine;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Tensors;
using KvCuda.Tests.Backends.Cuda;
using KvCuda.Tests.Engine;

namespace KvCuda.Tests.Models;

public sealed class LoadOptionsTests : IDisposable
{
    readonly MixRig rig = new();

    public void Dispose() => rig.Dispose();

    static readonly int[] prompt = [5, 6, 7];

    static KvEngineOptions Options => new() { Device = "cpu", Threads = 1, KvType = "f32", PageTokens = 16 };

    static Task<GenerationResult> Ask(KvEngine engine) => Result(engine.GenerateAsync(prompt, new() { MaxTokens = 20, IgnoreEos = true }));

    static async Task<GenerationResult> Result(IAsyncEnumerable<GeneratedPiece> pieces)
    {
        GenerationResult? result = null;
        await foreach (GeneratedPiece piece in pieces)
        {
            result = piece.Result ?? result;
        }
        return result!;
    }

    [Fact]
    public async Task Weights_that_are_held_in_memory_do_not_change_with_the_file()
    {
        await using KvEngine engine = await KvEngine.LoadAsync(rig.Folder, Options with { HoldWeights = true });
        await using KvEngine other = await KvEngine.LoadAsync(rig.Folder, Options);
        IReadOnlyList<int> expected = (await Ask(other)).Tokens;
        await other.DisposeAsync();
        string file = Path.Combine(rig.Folder, "model.safetensors");
        byte[] bytes = File.ReadAllBytes(file);
        using (FileStream stream = new(file, FileMode.Open, FileAccess.Write, FileShare.ReadWrite))
        {
            stream.Seek(bytes.Length / 2, SeekOrigin.Begin);
            stream.Write(new byte[bytes.Length / 2]); // overwritten in place
        }
        Assert.Equal(expected, (await Ask(engine)).Tokens);
    }

    [Fact]
    public async Task A_snapshot_names_the_model_that_was_loaded_whatever_has_become_of_its_folder()
    {
        string snapshot = Path.Combine(rig.Folder, "saved"), tokenizer = Path.Combine(rig.Folder, "tokenizer.json");
        int[] tokens = [.. Enumerable.Range(0, 40).Select(i => 3 + i % 20)];
        await using KvEngine engine = await KvEngine.LoadAsync(rig.Folder, Options);
        File.WriteAllText(tokenizer, "another one, put there later");
        await engine.SaveAsync(tokens, snapshot);
        Assert.Equal(32, await engine.RestoreAsync(snapshot, "here"));
        File.Delete(tokenizer);
        await using KvEngine again = await KvEngine.LoadAsync(rig.Folder, Options);
        Assert.Equal(32, await again.RestoreAsync(snapshot, "there"));
    }

    [Fact]
    public void Unless_said_otherwise_the_store_takes_no_more_than_its_share_of_the_memory_it_lives_in()
    {
        var layout = new KvLayout(LayerSharing.Parse("standard", 32), 32, 128, DType.F32, 64);
        LoadOptions options = new() { MaxSequences = 64 };
        long device = KvBudget.Default(layout, 32768, options, new(Free: 10_000_000_000, Total: 24_000_000_000, OfDevice: true));
        long host = KvBudget.Default(layout, 32768, options, new(Free: 10_000_000_000, Total: 128_000_000_000));
        Assert.Equal((9_000_000_000, 32_000_000_000), (device, host));
        Assert.InRange(KvBudget.Default(new KvLayout(LayerSharing.Parse("0_0", 2), 1, 8, DType.F32, 16), 64, options with { PageTokens = 16 },
            new(10_000_000_000, 24_000_000_000, OfDevice: true)), 1, 8 << 20); // what all sequences need is less
    }

    [Fact]
    public void A_gpu_is_asked_for_its_own_memory()
    {
        using LoadedModel model = LoadedModel.Load(rig.Folder, Options with { Device = CudaModels.Device, KvBudgetBytes = 1 << 20 });
        MemoryInfo memory = model.Backend.Memory;
        Assert.True(memory.OfDevice);
        Assert.InRange(memory.KvShare, 1, memory.Free);
        Assert.SkipUnless(CudaBackendTests.Device == "cuda-host", "the sizes of a GPU are its own");
        Assert.Equal(8L << 30, memory.Total);
    }
}
