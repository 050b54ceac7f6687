// A prompt that stays in the cache.
using KvCuda.KvStore;

namespace KvCuda.Engine;

/// <summary>A prompt whose pages stay in the cache until this is disposed.</summary>
public sealed class PrecomputedPrompt : IAsyncDisposable
{
    readonly KvEngine engine;
    KvPin? pin;

    internal PrecomputedPrompt(KvEngine engine, KvPin pin)
    {
        (this.engine, this.pin) = (engine, pin);
        PinnedTokens = pin.Tokens;
    }

    /// <summary>Tokens that are held: whole pages of the prompt, so fewer than a page's tokens give 0.</summary>
    public int PinnedTokens { get; }

    /// <summary>Lets the pages go back to ordinary retention.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref pin, null) is { } held)
        {
            try
            {
                await engine.Ask(() => { engine.Model.Store.Unpin(held); return true; }).ConfigureAwait(false);
            }
            catch (Exception error) when (error is ObjectDisposedException or KvCudaException)
            {
                // The engine is gone, and with it the pages.
            }
        }
    }
}
