namespace KvCuda.Text;

/// <summary>
/// Turns ids into text one by one, holding back what a later id may still change, such as half of a character. Everything
/// returned, joined, is the text of all ids decoded at once. Made by <see cref="Tokenizer.CreateStreamingDecoder"/>; one per
/// sequence, not safe for concurrent use.
/// </summary>
public abstract class StreamingDecoder
{
    /// <summary>Takes the next id and returns the text that is now certain; often one token's worth, sometimes empty.</summary>
    public abstract string Append(int id);

    /// <summary>Ends the text: returns what was held back, and makes the decoder ready for a new text.</summary>
    public abstract string Flush();
}

/// <summary>Streaming over a tokenizer that can only decode whole sequences.</summary>
/// <remarks>
/// The text of the ids since the last emission is decoded together with a few ids before it, because decoders treat the first
/// token of a text in their own way (leading spaces).
/// </remarks>
sealed class WindowDecoder(Tokenizer tokenizer) : StreamingDecoder
{
    readonly List<int> window = [];
    string prefix = "";

    public override string Append(int id)
    {
        window.Add(id);
        string text = tokenizer.Decode(window);
        if (text.Length <= prefix.Length || text[^1] == '\uFFFD' || !text.StartsWith(prefix, StringComparison.Ordinal))
        {
            return "";
        }

        string emitted = text[prefix.Length..];

        // The last id stays as context for the next one; its own text is the new prefix.
        string context = tokenizer.Decode([id]);
        if (window.Count > 1 && context.Length > 0 && context[^1] != '\uFFFD' && text.EndsWith(context, StringComparison.Ordinal))
        {
            window.RemoveRange(0, window.Count - 1);
            prefix = context;
        }
        else
        {
            prefix = text;
        }

        return emitted;
    }

    public override string Flush()
    {
        string text = tokenizer.Decode(window);
        string rest = text.Length > prefix.Length ? text[prefix.Length..] : "";
        window.Clear();
        prefix = "";
        return rest;
    }
}
