// The memory of keys and values: the store's decisions, the arena they are about, and the batch that carries page tables.
using KvCuda.Backends;
using KvCuda.KvStore;
using KvCuda.Tensors;
using KvCuda.Weights;

namespace KvCuda.Model;

/// <summary>Where keys and values of one model live on one backend: layout, store, arena, and the batch with their page tables.</summary>
internal sealed class KvMemory
{
    readonly int maxRows;

    /// <param name="backend">where the pages live</param>
    /// <param name="config">the model's shape</param>
    /// <param name="sharing">which layers own keys and values</param>
    /// <param name="type">how they are kept</param>
    /// <param name="maxContext">longest sequence in tokens</param>
    /// <param name="options">budget, page size, most sequences and rows</param>
    /// <param name="report">told the share of the host tier that is there</param>
    /// <exception cref="KvBudgetException">The budget cannot hold one page of each class.</exception>
    /// <exception cref="DeviceException">The device or the host has not so much memory.</exception>
    public KvMemory(IBackend backend, ModelConfig config, LayerSharing sharing, DType type, int maxContext, LoadOptions options,
        Action<double> report)
    {
        maxRows = options.MaxStepTokens;
        Layout = new(sharing, layer => new(config.LayerConfigs[layer].KvHeads, config.LayerConfigs[layer].HeadDim), type,
            options.PageTokens);
        Store = new(Layout, options.KvBudgetBytes ?? KvBudget.Default(Layout, maxContext, options, backend.Memory),
            hostBudgetBytes: options.HostKvBudgetBytes) { ChunkTokens = options.MaxStepTokens };
        Arena = new(backend, Store, report);
        // A sequence that slides: its sinks' chunks, then the chunk in which its window begins, the window, and a prompt chunk.
        int chunkTokens = Math.Max(AttentionMask.ChunkTokens, options.PageTokens);
        Batch = new(backend, options.MaxStepTokens, options.MaxSequences, options.MaxWanted ?? options.MaxSequences + options.MaxDraftTokens, Layout.Classes.Count,
            (maxContext + options.PageTokens - 1) / options.PageTokens,
            (maxContext + 2 * chunkTokens + options.MaxStepTokens) / options.PageTokens + 1);
    }

    /// <summary>Classes of pages and their sizes.</summary>
    public KvLayout Layout { get; }

    /// <summary>Who holds which page.</summary>
    public KvStore.KvStore Store { get; }

    /// <summary>The pages as bytes.</summary>
    public KvArena Arena { get; }

    /// <summary>The one batch that passes are made of.</summary>
    public Batch Batch { get; }

    /// <summary>Where an owning layer's keys and values live, by the page tables for ordinary or for sliding rows.</summary>
    public KvView ViewOf(int owner, bool sliding) => 
        Layout.ViewOf(owner, Arena.Address, sliding ? Batch.StreamPageTable : Batch.PageTable);

    /// <summary>
    /// Does on the device what the store decided: copies of pages that are about to be written but are shared, and of pages that
    /// come from the host tier. Then cold pages go there during the pass, so that the next one finds free pages.
    /// </summary>
    public void PlayCopies()
    {
        Arena.Play(Store.TakeCopies());
        if (Store.HostArenaBytes > 0)
        {
            Store.MoveAhead((int)Math.Min(maxRows, Store.ArenaBytes / Layout.BytesPerToken / 8));
            Arena.Play(Store.TakeCopies());
        }
    }
}
