// The texts of a study: the model's own held-out text, two that come with the program, and a user's.
using System.Text.Json;
using KvCuda.Text;

namespace KvCuda.Study;

/// <summary>Texts cut in windows.</summary>
internal static class StudyTexts
{
    /// <param name="model">whose tokenizer counts</param>
    /// <param name="tokenizer">null: only lists of token ids can be read</param>
    /// <param name="files">a user's</param>
    /// <param name="window">predictions per window</param>
    public static IReadOnlyList<StudyText> For(StudyModel model, Tokenizer? tokenizer, IReadOnlyList<string> files, int window)
    {
        List<StudyText> texts = [];
        string heldOut = Path.Combine(Path.GetDirectoryName(Path.GetFullPath(model.Folder))!, "held-out.json");
        if (files.Count == 0)
        {
            if (File.Exists(heldOut))
            {
                texts.Add(Json("held-out", heldOut, model.Config.Vocabulary, window));
            }
            if (tokenizer is not null)
            {
                texts.Add(Cut("prose", tokenizer, Embedded("prose.txt"), window));
                texts.Add(Cut("code", tokenizer, Embedded("code.txt"), window));
            }
        }
        foreach (string file in files)
        {
            string name = Path.GetFileNameWithoutExtension(file);
            if (Path.GetExtension(file) == ".json")
            {
                texts.Add(Json(name, file, model.Config.Vocabulary, window));
            }
            else if (tokenizer is null)
            {
                throw new InvalidRequestException($"{model.Folder} has no tokenizer.json: give texts as .json lists of lists of token ids, not {file}.");
            }
            else
            {
                texts.Add(Cut(name, tokenizer, File.ReadAllText(file), window));
            }
        }
        return texts;
    }

    static StudyText Cut(string name, Tokenizer tokenizer, string text, int window)
    {
        int[][] windows = [.. tokenizer.EncodeToIds(text).Chunk(window + 1).Where(ids => ids.Length > 1)];
        return windows.Length > 0 ? new(name, windows) : throw new InvalidRequestException($"The text {name} holds nothing to predict.");
    }

    static StudyText Json(string name, string path, int vocabulary, int window)
    {
        try
        {
            int[][] lists = JsonSerializer.Deserialize<int[][]>(File.ReadAllBytes(path)) ?? [];
            int[][] windows = [.. lists.SelectMany(ids => ids.Chunk(window + 1)).Where(ids => ids.Length > 1)];
            if (windows.SelectMany(ids => ids).FirstOrDefault(id => (uint)id >= (uint)vocabulary, -1) is not -1 and int wrong)
            {
                throw new InvalidRequestException($"{path} has the token {wrong}; the model knows 0 to {vocabulary - 1}.");
            }
            return windows.Length > 0 ? new(name, windows) : throw new InvalidRequestException($"{path} holds nothing to predict.");
        }
        catch (JsonException error)
        {
            throw new InvalidRequestException($"{path} is not a list of lists of token ids: {error.Message}");
        }
    }

    static string Embedded(string name)
    {
        using Stream stream = typeof(StudyTexts).Assembly.GetManifestResourceStream("texts/" + name)!;
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }
}
