using KvCuda.KvStore;
using KvCuda.Model;

namespace KvCuda.Engine;

// Computed tokens that outlive the process.
public sealed partial class KvEngine
{
    /// <summary>
    /// Writes the keys and values of these tokens to a file, which replaces the one at <paramref name="path"/> in one step.
    /// What is not cached is computed first.
    /// </summary>
    /// <param name="tokens">a prompt, or a conversation so far</param>
    /// <param name="path">the file</param>
    /// <param name="salt">the tenant whose cached tokens may be used</param>
    /// <param name="cancellation">ends the computation</param>
    /// <exception cref="InvalidRequestException">There are no tokens, or more than fit the context.</exception>
    public Task SaveAsync(IReadOnlyList<int> tokens, string path, string salt = "", CancellationToken cancellation = default) =>
        SaveAsync(tokens, path, new GenerateOptions { Salt = salt }, default, cancellation);

    internal async Task SaveAsync(IReadOnlyList<int> tokens, string path, GenerateOptions options, SessionId session,
        CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(tokens);
        ArgumentException.ThrowIfNullOrEmpty(path);
        int[] prompt = [.. tokens];
        if (prompt.Length >= model.MaxContext)
        {
            throw new InvalidRequestException(
                $"A snapshot holds keys and values of full attention; these {prompt.Length} tokens have slid past the context of "
                + $"{model.MaxContext}, and what left the window is forgotten. Save before that, or keep the tokens themselves.");
        }
        admission.CheckPrompt(prompt, 1);
        Exception? failure = null;
        await foreach (GeneratedPiece _ in Stream(prompt, options with { MaxTokens = 1, IgnoreEos = true }, session, kv =>
        {
            try
            {
                model.Store.Save(path, kv, identity, model.Memory.Arena);
            }
#pragma warning disable CA1031 // whatever it is, it belongs to the one who asked
            catch (Exception error)
#pragma warning restore CA1031
            {
                failure = error; // the caller's, not the engine's
            }
        }, cancellation).ConfigureAwait(false)) { }
        if (failure is not null)
        {
            throw failure is KvCudaException
                ? failure
                : new InvalidRequestException($"The snapshot could not be written to {path}: {failure.Message}", failure);
        }
    }

    /// <summary>
    /// Puts a snapshot's whole pages into the cache, where prompts that begin with its tokens find them. The file is found
    /// whole and this model's before anything is touched.
    /// </summary>
    /// <returns>tokens that a longer prompt finds now; 0 if running requests leave no room</returns>
    /// <exception cref="KvSnapshotException">The file is damaged, another model's or a later version's; nothing has changed.</exception>
    /// <exception cref="InvalidRequestException">The file cannot be read.</exception>
    public async Task<int> RestoreAsync(string path, string salt = "") =>
        (await RestoreAsync(path, ScopeOf(new() { Salt = salt }, default), null).ConfigureAwait(false)).Cached;

    /// <summary>Opens a conversation where a snapshot of <see cref="KvSession.SaveAsync"/> left it.</summary>
    /// <inheritdoc cref="RestoreAsync(string, string)"/>
    public async Task<KvSession> RestoreSessionAsync(string path, SessionOptions? options = null)
    {
        options ??= new();
        options.Validate();
        SessionId id = NewSession();
        KvScope scope = ScopeOf(new() { Salt = options.Salt, Cache = options.Cache }, id);
        (int[] tokens, _) = await RestoreAsync(path, scope, options.Retention.ToStore()).ConfigureAwait(false);
        return new(this, id, options, tokens);
    }

    async Task<(int[] Tokens, int Cached)> RestoreAsync(string path, KvScope scope, KvRetention? retention)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        try
        {
            FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.Read);
            await using (file.ConfigureAwait(false))
            {
                return await Ask(() =>
                {
                    int[] tokens = new KvSnapshotReader(file, model.Layout, identity).Header.Tokens;
                    file.Position = 0;
                    return (tokens, model.Store.Restore(file, scope, identity, model.Memory.Arena, retention));
                }).ConfigureAwait(false);
            }
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new InvalidRequestException($"The snapshot {path} cannot be read: {error.Message}", error);
        }
    }

    // Fixed when the model is loaded: the folder may change under a running process.
    readonly KvSnapshotIdentity identity;
}
