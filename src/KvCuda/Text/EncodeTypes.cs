namespace KvCuda.Text;

/// <summary>One token of an encoded text.</summary>
/// <param name="Id">The token's id: its row in the embedding matrix.</param>
/// <param name="Value">The token as the vocabulary spells it ("Ġworld", "▁world").</param>
/// <param name="Offset">The UTF-16 range it covers in the normalised text; empty for tokens the text does not contain.</param>
public readonly record struct EncodedToken(int Id, string Value, Range Offset);

/// <summary>How far to encode, and which steps of the pipeline to run.</summary>
public struct EncodeSettings
{
    /// <summary>Everything on, no limit.</summary>
    public EncodeSettings()
    {
    }

    /// <summary>Split the text before the model sees it.</summary>
    public bool ConsiderPreTokenization { get; set; } = true;

    /// <summary>Normalise the text.</summary>
    public bool ConsiderNormalization { get; set; } = true;

    /// <summary>At most this many tokens are produced.</summary>
    public int MaxTokenCount { get; set; } = int.MaxValue;
}

/// <summary>What encoding gave.</summary>
/// <typeparam name="T"><see cref="EncodedToken"/> or an id.</typeparam>
public struct EncodeResults<T>
{
    /// <summary>The tokens, in order.</summary>
    public IReadOnlyList<T> Tokens { get; set; }

    /// <summary>The text after normalisation, or null if it is the text that was given.</summary>
    public string? NormalizedText { get; set; }

    /// <summary>UTF-16 units of the normalised text that the tokens cover.</summary>
    public int CharsConsumed { get; set; }
}
