// What may enter: prompts that are well formed, sequences that fit, and the errors that say why not.
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Weights;

namespace KvCuda.Engine;

/// <summary>What a model and its store can take, asked before a request enters; without state of its own.</summary>
internal sealed class Admission(LoadedModel model)
{
    /// <summary>A copy of what a caller asks for, checked by itself and against the model.</summary>
    /// <exception cref="InvalidRequestException">An option is out of range, or the model cannot do it.</exception>
    public GenerateOptions Check(GenerateOptions? options)
    {
        GenerateOptions copy = (options ?? new()).Checked();
        if (copy.Speculate != Speculation.None && model.Sharing.IsCyclic)
        {
            throw new InvalidRequestException(
                "Speculation was asked for, but layers of this model look upward (its sharing map reads keys and values of layers above): rows of one step "
                + "would depend on each other, and checking a guess would cost as many passes as it saves. Leave Speculate at None.");
        }
        return copy;
    }

    /// <summary>How a sequence of this model slides when it is longer than sinks and window.</summary>
    /// <param name="sinks">tokens of the beginning that stay</param>
    /// <param name="window">latest tokens that stay; null: as many as the context has room for</param>
    /// <exception cref="InvalidRequestException">The model cannot slide, or not with these numbers.</exception>
    public KvStreaming StreamingOf(int sinks, int? window)
    {
        if (model.Config.Rope is null)
        {
            throw new InvalidRequestException(
                "This model cannot slide past its context: its positions are learned, so there is none beyond "
                + $"{model.Config.MaxPositions}. Let it stop there, or use a model with rotary positions.");
        }
        if (model.Config.HeadNorm == HeadNorm.AfterRope)
        {
            throw new InvalidRequestException(
                "This model cannot slide past its context: it normalises queries and keys after they are rotated, so that scores "
                + "depend on positions it was not trained for and not on distances alone. Let it stop there.");
        }
        int most = model.MaxContext - Math.Max(sinks, 0);
        if (sinks < 0 || (window ?? most) < 1 || (window ?? 1) > most)
        {
            throw new InvalidRequestException(
                $"Sliding with {sinks} sinks and a window of {(window is { } w ? w : most)} tokens was asked for; a window has at least 1 "
                + $"token, and sinks and window together at most the {model.MaxContext} of the context.");
        }
        return new(sinks, window ?? most);
    }

    /// <param name="prompt">token ids</param>
    /// <param name="maxTokens">most tokens to generate; 0: only the prompt runs</param>
    /// <param name="streaming">how it slides, if it does: then neither prompt nor text need fit the context</param>
    /// <exception cref="InvalidRequestException">The prompt is empty, too long, or has an id outside the vocabulary.</exception>
    /// <exception cref="KvBudgetException">At its longest the sequence cannot even fit into an empty store.</exception>
    public void CheckPrompt(IReadOnlyList<int> prompt, int maxTokens, KvStreaming? streaming = null)
    {
        CheckTokens(prompt, maxTokens, streaming);
        int longest = LongestLength(prompt.Count, maxTokens, streaming);
        if (!model.Store.FitsEmpty(longest, streaming))
        {
            throw TooLong(prompt.Count, longest, streaming);
        }
    }

    /// <summary>Tokens that a sequence can have in the end: the context's, or if it slides as many as are asked for.</summary>
    public int LongestLength(int promptTokens, int maxTokens, KvStreaming? streaming = null) =>
        (int)Math.Min((long)promptTokens + maxTokens, streaming is null ? model.MaxContext : LongestStream);

    // Positions are 32-bit, and some arithmetic looks a chunk ahead.
    const int LongestStream = int.MaxValue / 2;

    /// <summary>The same as <see cref="CheckPrompt"/>, but for the budget.</summary>
    /// <exception cref="InvalidRequestException">The prompt is empty, too long, or has an id outside the vocabulary.</exception>
    public void CheckTokens(IReadOnlyList<int> prompt, int maxTokens, KvStreaming? streaming = null)
    {
        if (prompt.Count == 0)
        {
            throw new InvalidRequestException("The prompt has no tokens; give at least one.");
        }
        int most = (streaming is null ? model.MaxContext : LongestStream) - Math.Min(maxTokens, 1);
        if (prompt.Count > most)
        {
            throw new InvalidRequestException(
                $"The prompt has {prompt.Count} tokens; with a context of {model.MaxContext} it can have at most {most}.");
        }
        foreach (int token in prompt)
        {
            if ((uint)token >= (uint)model.Config.Vocabulary)
            {
                throw new InvalidRequestException($"The prompt has the token {token}; the model knows 0 to {model.Config.Vocabulary - 1}.");
            }
        }
    }

    /// <summary>
    /// Why a sequence that grows to <paramref name="longest"/> tokens can never fit beside what is pinned now (and what it would
    /// use of that); null: it can. For the store's thread.
    /// </summary>
    /// <param name="tokens">what it begins with</param>
    /// <param name="promptTokens">of these, so many are the prompt</param>
    /// <param name="longest">tokens it may have in the end</param>
    /// <param name="scope">whose pages it may use</param>
    /// <param name="streaming">how it slides, if it does</param>
    public KvBudgetException? CannotFit(ReadOnlySpan<int> tokens, int promptTokens, int longest, in KvScope scope,
        KvStreaming? streaming = null) =>
        model.Store.CanEverFit(longest, tokens, scope, streaming) ? null : TooLong(promptTokens, longest, streaming);

    KvBudgetException TooLong(int promptTokens, int longest, KvStreaming? streaming)
    {
        long needed = model.Store.BytesFor(longest, streaming);
        if (streaming is { } t)
        {
            return new(
                $"A sequence that slides with {t.Sinks} sinks and a window of {t.Window} tokens needs {needed:N0} bytes of key/value pages "
                + $"({model.Layout.BytesPerToken:N0} per token, with room for a step of {model.Store.ChunkTokens}); the budget is {model.Store.BudgetBytes:N0}, "
                + "less what is pinned. Make the window shorter, raise the budget or dispose precomputed prompts.", needed, model.Store.BudgetBytes);
        }
        return new(
            $"A sequence of {promptTokens} prompt and up to {longest - promptTokens} generated tokens needs {needed:N0} bytes of "
            + $"key/value pages ({model.Layout.BytesPerToken:N0} per token); the budget is {model.Store.BudgetBytes:N0}, less what is pinned. "
            + "Ask for fewer tokens, raise the budget or dispose precomputed prompts.", needed, model.Store.BudgetBytes);
    }
}
