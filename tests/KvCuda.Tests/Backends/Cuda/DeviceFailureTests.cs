using System.Runtime.InteropServices;
using KvCuda.Engine;
using KvCuda.Interop;
using KvCuda.Tests.Kernels;

namespace KvCuda.Tests.Backends.Cuda;

/// <summary>Tests that break the device that others share run when nobody else does.</summary>
[CollectionDefinition("Alone", DisableParallelization = true)]
public sealed class Alone;

/// <summary>What becomes of an engine whose device fails while it generates.</summary>
[Collection("Alone")]
public sealed class DeviceFailureTests
{
    static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    static Task<KvEngine> Load() => KvEngine.LoadAsync(Repository.Golden("llama-standard"),
        new() { Device = "cuda-host:plain", MaxSequences = 2, MaxContext = 64, PageTokens = 16 }, cancellation: Cancellation);

    static unsafe void FailAfter(long launches)
    {
        CudaLibraries runner = CudaLibraries.OfHostRunner(plain: true);
        ((delegate* unmanaged<long, void>)NativeLibrary.GetExport(runner.Driver.Handle, "kvcudaHostFailIn"))(launches);
    }

    static async Task<DeviceException> Failure(KvEngine engine, int[] prompt, TaskCompletionSource? begun = null) =>
        await Assert.ThrowsAsync<DeviceException>(async () =>
        {
            await foreach (GeneratedPiece _ in engine.GenerateAsync(prompt, new() { MaxTokens = 40, IgnoreEos = true }, Cancellation))
            {
                begun?.TrySetResult();
            }
        });

    [Fact]
    public async Task Every_request_ends_with_the_one_error_and_the_engine_says_that_it_is_over()
    {
        Assert.SkipWhen(TestDevice.IsGpu, "a GPU's context does not come back within a process");
        _ = CudaBackendTests.Device; // skips where there is no host runner
        await using (KvEngine engine = await Load())
        {
            Assert.Null(engine.Failure);
            TaskCompletionSource begun = new();
            // Two run, the third waits for a place.
            Task<DeviceException>[] requests = [Failure(engine, [5, 7], begun), Failure(engine, [9], begun), Failure(engine, [3, 4, 5])];
            await begun.Task.WaitAsync(Cancellation);
            FailAfter(30);
            DeviceException[] errors = await Task.WhenAll(requests).WaitAsync(Cancellation);
            Assert.All(errors, error => Assert.Contains("a failure that was asked for", error.Message, StringComparison.Ordinal));
            Assert.All(errors, error => Assert.Contains("CUDA_ERROR_ILLEGAL_ADDRESS (700)", error.Message, StringComparison.Ordinal));
            Assert.All(errors, error => Assert.DoesNotContain('\n', error.Message));

            // Whoever comes later is told the same at once, and so is who asks.
            Assert.Equal(errors[0].Message, (await Failure(engine, [1])).Message);
            Assert.Equal(errors[0].Message, engine.Failure?.Message);
        }

        // Disposed, it leaves the device to others.
        await using KvEngine next = await Load();
        GenerationResult? result = null;
        await foreach (GeneratedPiece piece in next.GenerateAsync([5, 7], new() { MaxTokens = 3, IgnoreEos = true }, Cancellation))
        {
            result = piece.Result;
        }
        Assert.Equal(3, result!.GeneratedTokens);
    }
}
