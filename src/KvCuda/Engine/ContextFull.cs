namespace KvCuda.Engine;

/// <summary>What happens when a text reaches the end of the model's context.</summary>
public enum ContextFull
{
    /// <summary>The generation ends with <see cref="FinishReason.ContextFull"/>.</summary>
    Stop,

    /// <summary>
    /// It goes on as long as it is asked to, at constant memory: the model sees the first tokens and the latest ones, as if what
    /// lies between had never been (StreamingLLM, arXiv 2309.17453). What has left the window is forgotten. Prompts may be longer
    /// than the context too. Needs rotary positions, and queries and keys
    /// that are not normalised after rotation.
    /// </summary>
    Slide,
}
