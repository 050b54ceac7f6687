// What ends a text of a model: the one answer that engine, server and inspect use.
using KvCuda.Text.Files;

namespace KvCuda.Text;

/// <summary>What ends a text: ids, and texts of generation_config.json's stop_strings.</summary>
sealed record TextEndings(IReadOnlyList<EndToken> Tokens, IReadOnlyList<string> StopTexts)
{
    /// <summary>The ids alone.</summary>
    public IReadOnlyList<int> Ids { get; } = [.. Tokens.Select(token => token.Id)];

    /// <summary>What the files of a folder say, together with what a tokenizer says that was not read from it.</summary>
    /// <param name="folder">the model folder; null: only the tokenizer speaks</param>
    /// <param name="tokenizer">null: only the ids in the configs count</param>
    public static TextEndings Of(string? folder, Tokenizer? tokenizer)
    {
        FolderTokens? files = folder is null ? null : FolderTokens.Read(folder);
        var ends = new List<EndToken>();
        if (tokenizer is HuggingFaceTokenizer { Ends.Count: > 0 } own)
        {
            ends.AddRange(own.Ends);
        }
        ends.AddRange(files?.Ends(null) ?? []);
        ends.AddRange((tokenizer?.EndOfSequenceIds ?? []).Select(id => new EndToken(id, null, "the tokenizer given")));
        return new([.. ends.DistinctBy(end => end.Id)], files?.StopTexts ?? []);
    }
}
