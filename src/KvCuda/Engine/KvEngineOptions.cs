// How an engine is set up.
using KvCuda.Model;
using KvCuda.Tensors;

namespace KvCuda.Engine;

/// <summary>How an engine is set up: how its model is loaded, and how it runs requests. The defaults suit a service that embeds it.</summary>
public sealed record KvEngineOptions : LoadOptions
{
    /// <summary>The largest share of the store, from 0 to 1, that precomputed prompts may pin.</summary>
    public double PinnedShare { get; init; } = 0.25;

    /// <summary>
    /// Most requests that wait to be run for the first time; a further one is refused at once with <see cref="QueueFullException"/>.
    /// </summary>
    public int MaxWaiting { get; init; } = 8192;

    /// <summary>A tokenizer of one's own instead of the model folder's tokenizer.json; it must be safe for concurrent use.</summary>
    public Text.Tokenizer? Tokenizer { get; init; }

    /// <summary>The clock of <see cref="CacheRetention.TimeToLive"/> and <see cref="SessionOptions.IdleTimeToLive"/>.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Finds what is out of range whatever the model; loading a model begins with this.</summary>
    /// <exception cref="InvalidRequestException">An option is out of range; the message names it.</exception>
    public void Validate()
    {
        Require(Device is not null && KvType is not null, "Device or KvType is null; leave it out for the default, auto.");
        Require(TimeProvider is not null, "TimeProvider is null; leave it out for the system's clock.");
        Require(MaxWaiting >= 1, $"MaxWaiting is {MaxWaiting}; it must be at least 1.");
        Require(Numerics is "fast" or "consistent", $"Numerics is '{Numerics}'; it must be fast or consistent.");
        _ = WeightFormat.Parse(Weights);
        Require(PageTokens is >= 16 and <= 128 && (PageTokens & (PageTokens - 1)) == 0,
            $"PageTokens is {PageTokens}; it must be 16, 32, 64 or 128.");
        Require(MaxSequences is >= 1 and <= 4096, $"MaxSequences is {MaxSequences}; it must be from 1 to 4096.");
        Require(MaxStepTokens is >= 1 and <= 65536, $"MaxStepTokens is {MaxStepTokens}; it must be from 1 to 65536.");
        Require(MaxDraftTokens is >= 0 and <= 4096, $"MaxDraftTokens is {MaxDraftTokens}; it must be from 0 to 4096.");
        Require(MaxContext is null or >= 2, $"MaxContext is {MaxContext}; it must be at least 2.");
        Require(KvBudgetBytes is null or > 0, $"KvBudgetBytes is {KvBudgetBytes}; it must be positive.");
        Require(HostKvBudgetBytes >= 0, $"HostKvBudgetBytes is {HostKvBudgetBytes}; it must not be negative.");
        Require(PinnedShare is >= 0 and <= 1, $"PinnedShare is {PinnedShare}; it must be from 0 to 1.");
        Require(Threads >= 0, $"Threads is {Threads}; it must not be negative.");
        Require(Prefill.Kind != PrefillKind.Iterative,
            "Iterative prefill is an approximation kept for comparison: it needs the whole prompt in one piece from zero keys "
            + "and values, which a scheduler of many requests cannot give. Use converged (the default) or sequential; "
            + "`kvcuda logits --prefill iterative:7+2` shows it.");
    }

    /// <summary>Finds out whether the device is there and can be opened: what a service checks before it starts.</summary>
    /// <exception cref="InvalidRequestException">The name is not a device's.</exception>
    /// <exception cref="DeviceException">The device, its driver or its compiler is not there; the message says what was tried.</exception>
    public void ValidateDevice()
    {
        // These two are everywhere; a GPU is opened, and given back.
        if (Device is not ("auto" or "cpu"))
        {
            Backends.BackendFactory.Create(Device, Threads, NumericsClass).Dispose();
        }
    }

    static void Require(bool condition, string message)
    {
        if (!condition)
        {
            throw new InvalidRequestException(message);
        }
    }
}
