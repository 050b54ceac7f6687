using System.CommandLine;
using System.Text;
using System.Text.Json;
using KvCuda.Text;

namespace KvCuda.Cli;

/// <summary><c>kvcuda tokenize</c>: JSON strings in, one a line; arrays of ids out. And back.</summary>
internal static class TokenizeCommand
{
    public static Command Create()
    {
        Argument<string> model = new("MODEL") { Description = "Model folder with a tokenizer.json." };
        Option<bool> decode = new("--decode") { Description = "Read arrays of ids, write JSON strings." };
        Option<bool> noSpecial = new("--no-special")
        {
            Description = "Encoding: no special tokens are added. Decoding: special tokens are left out.",
        };
        Command command = new("tokenize", "Turn JSON strings on standard input (one a line) into arrays of token ids, or back.")
        {
            model, decode, noSpecial,
        };
        command.SetAction(parsed =>
        {
            Tokenizer tokenizer = Tokenizer.Load(parsed.GetValue(model)!);
            bool back = parsed.GetValue(decode), without = parsed.GetValue(noSpecial);
            using StreamReader input = new(StandardStreams.OpenInput(), Encoding.UTF8);
            using StreamWriter output = new(Console.OpenStandardOutput(), new UTF8Encoding(false)) { NewLine = "\n" };
            for (int line = 1; input.ReadLine() is { } text; line++)
            {
                if (text.Trim().Length > 0)
                {
                    output.WriteLine(back ? Decode(tokenizer, text, line, without) : Encode(tokenizer, text, line, without));
                }
            }
            return CommandLine.Done;
        });
        return command;
    }

    internal static string Encode(Tokenizer tokenizer, string line, int number, bool without)
    {
        string text = Parse(line, number, "a JSON string",
            root => root.GetString() ?? throw new FormatException("it is null."));
        IReadOnlyList<int> ids = tokenizer.EncodeToIds(text, without ? SpecialTokens.Parse : SpecialTokens.Parse | SpecialTokens.Add);
        return $"[{string.Join(',', ids)}]";
    }

    static string Decode(Tokenizer tokenizer, string line, int number, bool without)
    {
        int[] ids = Parse(line, number, "an array of ids", root => root.EnumerateArray().Select(id => id.GetInt32()).ToArray());
        StreamingDecoder decoder = tokenizer.CreateStreamingDecoder(skipSpecialTokens: without);
        StringBuilder text = new();
        foreach (int id in ids)
        {
            text.Append(decoder.Append(id));
        }
        text.Append(decoder.Flush());
        return "\"" + JsonEncodedText.Encode(text.ToString(), System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping) + "\"";
    }

    static T Parse<T>(string line, int number, string expected, Func<JsonElement, T> read)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(line);
            return read(document.RootElement);
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException or FormatException)
        {
            throw new InputException($"Line {number} is not {expected}: {error.Message}", error);
        }
    }
}
