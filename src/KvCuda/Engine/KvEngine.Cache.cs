using KvCuda.KvStore;
using KvCuda.Text;

namespace KvCuda.Engine;

// What callers can do with computed tokens: keep them, pin them, hold conversations over them, clear them, look at them.
public sealed partial class KvEngine
{
    long sessions;

    /// <summary>
    /// Computes a prompt once and pins its whole pages, so that every later prompt that begins with it finds them, until the
    /// handle is disposed.
    /// </summary>
    /// <param name="prompt">the text that later prompts begin with</param>
    /// <param name="salt">the tenant whose prompts may use it</param>
    /// <param name="cancellation">ends the computation</param>
    /// <exception cref="InvalidRequestException">The prompt is empty or too long, or the share of pages that may be pinned is used up.</exception>
    public Task<PrecomputedPrompt> PrecomputeAsync(string prompt, string salt = "", CancellationToken cancellation = default) =>
        PrecomputeAsync(Encode(prompt), salt, cancellation);

    /// <inheritdoc cref="PrecomputeAsync(string, string, CancellationToken)"/>
    public async Task<PrecomputedPrompt> PrecomputeAsync(IReadOnlyList<int> promptTokens, string salt = "",
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(promptTokens);
        ArgumentNullException.ThrowIfNull(salt);
        int[] prompt = [.. promptTokens];
        admission.CheckPrompt(prompt, 1);
        KvPin? pin = null;
        GenerateOptions options = new() { MaxTokens = 1, IgnoreEos = true, Salt = salt };
        try
        {
            await foreach (GeneratedPiece _ in Stream(prompt, options, default, Pin, cancellation).ConfigureAwait(false)) { }
        }
        catch (OperationCanceledException)
        {
            // It may have pinned before the caller went away. The errand runs after the step that may be pinning now, and before
            // the next one, which drops the request.
            await LetGo().ConfigureAwait(false);
            throw;
        }
        return new(this, pin ?? throw new InvalidRequestException(
            $"The prompt of {prompt.Length} tokens was computed but cannot be pinned: pinned pages may hold at most "
            + $"{model.Store.PinnedShare:P0} of the store, and must leave room for what runs and waits. Dispose another handle, or "
            + "raise the budget or PinnedShare."));

        void Pin(KvSequence kv)
        {
            pin = model.Store.TryPin(kv, prompt.Length);
            if (pin is not null && !scheduler.BegunFit(kv))
            {
                model.Store.Unpin(pin);
                pin = null;
            }
        }

        async Task LetGo()
        {
            try
            {
                await Ask(() =>
                {
                    if (pin is not null)
                    {
                        model.Store.Unpin(pin);
                    }
                    return true;
                }).ConfigureAwait(false);
            }
            catch (Exception error) when (error is ObjectDisposedException or KvCudaException)
            {
                // The engine is gone, and with it the pages.
            }
        }
    }

    /// <summary>Opens a conversation. Sessions are cheap: between turns they hold tokens, and what the cache still has of them.</summary>
    public KvSession OpenSession(SessionOptions? options = null)
    {
        options ??= new();
        options.Validate();
        return new(this, NewSession(), options, []);
    }

    /// <summary>Forgets everything cached, precomputed prompts included; running requests go on. Returns the number of pages.</summary>
    public Task<int> ClearCacheAsync() => Ask(model.Store.ClearAll);

    /// <summary>Forgets what was cached or precomputed under one salt. Returns the number of pages.</summary>
    public Task<int> ClearCacheAsync(string salt) => Ask(() => model.Store.ClearSalt(salt));

    /// <summary>Forgets what is cached from the end of a prefix on, under one salt. Returns the number of pages.</summary>
    public Task<int> ClearPrefixAsync(IReadOnlyList<int> prefixTokens, string salt = "")
    {
        int[] prefix = [.. prefixTokens];
        return Ask(() => model.Store.ClearPrefix(prefix, ScopeOf(new() { Salt = salt }, default)));
    }

    /// <summary>The store at this moment: free, active, cached and pinned bytes, tokens found, evictions by cause.</summary>
    public Task<KvStatus> GetKvStatusAsync() => Ask(Status);

    KvStatus Status() => new(model.Store.Report(), model.Store.BudgetBytes, scheduler.Running, scheduler.Waiting, scheduler.Preemptions)
    {
        Steps = loop.Meter.Steps,
        ComputedPromptTokens = loop.Meter.PromptTokens,
        GeneratedTokens = loop.Meter.GeneratedTokens,
        PromptSeconds = loop.Meter.PromptSeconds,
        Finished = [.. loop.Meter.Finished],
    };

    /// <summary>The store and what runs on it at this moment, in enough detail to be drawn. Its cost is linear in the pages.</summary>
    /// <param name="branches">how many of the prefix tree's largest branches are told</param>
    public Task<KvPicture> GetPictureAsync(int branches = 16)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(branches);
        return Ask(() =>
        {
            KvStore.KvStore store = model.Store;
            KvReport report = store.Report();
            return new KvPicture
            {
                SlabBytes = report.Usage.SlabBytes,
                PageTokens = store.Layout.PageTokens,
                Kinds = [.. store.Layout.Classes.Select(kind => new KvPictureKind(kind.Window, kind.PageBytes, (int)(report.Usage.SlabBytes / kind.PageBytes), kind.Owners))],
                Slabs = [.. store.DrawSlabs().Select(slab => new KvPictureSlab(slab.Kind, slab.Pages))],
                Branches = [.. store.DrawBranches(branches).Select(branch => new KvPictureBranch(branch.Scope.Salt, store.TokensOf(branch).ToArray(),
                    branch.TrunkPages * store.Layout.PageTokens, branch.Pages * store.Layout.PageTokens, branch.Ends, branch.Hits, branch.Pinned))],
                Requests = [.. scheduler.All.Take(256).Select(request => new KvPictureRequest(request.Id, request.Scope.Salt, request.Age,
                    request.Kv is null ? "waiting" : request.Tokens.Count > request.PromptCount ? "answer" : "prompt", request.PromptCount, request.CachedTokens,
                    request.Kv?.Length ?? 0, request.Tokens.Count - request.PromptCount, request.Kv is null ? 0 : store.BytesHeld(request.Kv)))],
                Reads = [.. Enumerable.Range(0, Sharing.Layers).Select(Sharing.Target)],
                BytesPerToken = report.Layers,
                Status = Status(),
            };
        });
    }

    /// <summary>
    /// What a request would meet if it came now: tokens it would find, bytes it would need, and whether there is room. Starts
    /// nothing and holds nothing: another request may be faster.
    /// </summary>
    /// <exception cref="InvalidRequestException">An option is out of range, the prompt is empty, or longer than the context and does not slide.</exception>
    public Task<RequestPlan> PlanAsync(string prompt, GenerateOptions? options = null) => PlanAsync(Encode(prompt), options);

    /// <inheritdoc cref="PlanAsync(string, GenerateOptions?)"/>
    public Task<RequestPlan> PlanAsync(IReadOnlyList<int> promptTokens, GenerateOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(promptTokens);
        int[] prompt = [.. promptTokens];
        options = (options ?? new()).Checked();
        KvStreaming? streaming = StreamingOf(options);
        admission.CheckTokens(prompt, options.MaxTokens, streaming);
        int longest = admission.LongestLength(prompt.Length, options.MaxTokens, streaming);
        KvScope scope = ScopeOf(options, default);
        return Ask(() => new RequestPlan
        {
            PromptTokens = prompt.Length,
            CachedTokens = model.Store.Peek(prompt, scope, streaming),
            LongestTokens = longest,
            NeededBytes = model.Store.BytesFor(longest, streaming),
            BudgetBytes = model.Store.BudgetBytes,
            Fit = !model.Store.CanEverFit(longest, prompt, scope, streaming) ? RequestFit.Never
                : scheduler.Waiting > 0 || !model.Store.WouldFit(longest, prompt, scope, streaming) ? RequestFit.Later : RequestFit.Now,
        });
    }

    internal IReadOnlyList<int> Encode(string prompt)
    {
        ArgumentNullException.ThrowIfNull(prompt);
        return (Tokenizer ?? throw NoTokenizer()).EncodeToIds(prompt);
    }

    /// <summary>Text that goes on where a conversation is: nothing is put before it.</summary>
    internal IReadOnlyList<int> EncodeContinuation(string text) =>
        (Tokenizer ?? throw NoTokenizer()).EncodeToIds(text, SpecialTokens.Parse);

    internal SessionId NewSession()
    {
        long id = Interlocked.Increment(ref sessions);
        return new(id, id);
    }

    // A request that shares with nobody and belongs to no session has a scope of its own, below zero.
    internal KvScope ScopeOf(GenerateOptions options, SessionId session) => new(options.Salt, bitsKey,
        options.Cache == CacheScope.Shared ? 0 : session.Family != 0 ? session.Family : -Interlocked.Increment(ref sessions));

    /// <inheritdoc cref="EngineLoop.Ask"/>
    internal Task<T> Ask<T>(Func<T> question) => loop.Ask(question);

    /// <inheritdoc cref="EngineLoop.TakeErrands"/>
    internal void TakeErrands() => loop.TakeErrands();

    static InvalidRequestException NoTokenizer() => new(
        "The model folder has no tokenizer.json, so text cannot be understood; pass token ids instead.");
}
