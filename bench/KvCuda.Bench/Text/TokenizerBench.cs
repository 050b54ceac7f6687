using System.Text;
using BenchmarkDotNet.Attributes;
using KvCuda.Text;

namespace KvCuda.Bench.Text;

/// <summary>
/// Encoding a megabyte (prose, one letter, spaces, random letters), decoding it, and loading. The vocabularies are the ones that
/// tests/fetch-tokenizers.sh brings; the JavaScript peer is bench/KvCuda.Bench/Text/peer.mjs over the same text.
/// </summary>
[MemoryDiagnoser]
public class TokenizerBench
{
    HuggingFaceTokenizer tokenizer = null!;
    string path = "", text = "";
    IReadOnlyList<int> ids = [];

    /// <summary>A folder of .tools/tokenizers.</summary>
    [ParamsSource(nameof(Models))]
    public string Model { get; set; } = "";

    /// <summary>Those that are there; without any, the bundled model's.</summary>
    public static IEnumerable<string> Models
    {
        get
        {
            string[] known = ["llama3", "llama2", "gemma3"];
            string[] here = [.. known.Where(name => File.Exists(Path.Combine(Repository.Root, ".tools/tokenizers", name, "tokenizer.json")))];
            return here.Length > 0 ? here : ["demo"];
        }
    }

    /// <summary>What the megabyte consists of.</summary>
    [Params("prose", "letter", "spaces", "random")]
    public string Text { get; set; } = "";

    [GlobalSetup]
    public void Setup()
    {
        path = Path.Combine(Repository.Root, Model == "demo" ? "weights" : ".tools/tokenizers", Model, "tokenizer.json");
        tokenizer = HuggingFaceTokenizer.LoadFile(path);
        text = Megabyte(Text);
        ids = tokenizer.EncodeToIds(text);
    }

    [Benchmark]
    public int Encode() => tokenizer.EncodeToIds(text).Count;

    [Benchmark]
    public int Decode() => tokenizer.Decode(ids).Length;

    [Benchmark]
    public int Stream()
    {
        StreamingDecoder decoder = tokenizer.CreateStreamingDecoder();
        int length = 0;
        foreach (int id in ids)
        {
            length += decoder.Append(id).Length;
        }

        return length + decoder.Flush().Length;
    }

    [Benchmark]
    public int Load() => HuggingFaceTokenizer.LoadFile(path).VocabularySize;

    /// <summary>A megabyte of text; peer.mjs makes the same.</summary>
    public static string Megabyte(string kind)
    {
        const int length = 1 << 20;
        uint state = 1;
        uint Random(uint n)
        {
            state = (state * 1664525) + 1013904223;
            return (uint)((ulong)state * n >> 32);
        }

        if (kind is "letter" or "spaces")
        {
            return new string(kind == "letter" ? 'a' : ' ', length);
        }

        // Prose: words whose frequency falls with their rank, punctuation, paragraphs, some of it not English.
        string[] words = ("the of and to in that is was he for it with as his on be at by this had not are but from or have they " +
            "which one you were all she there would their we him been has when who will more language attention tokenizer " +
            "because experience understanding Über naïve Straße привет мир 中文 文字 don't we're 1984 3.14").Split(' ');
        var text = new StringBuilder(length + 32);
        while (text.Length < length)
        {
            if (kind == "random")
            {
                text.Append((char)('a' + Random(26)));
                continue;
            }

            text.Append(words[Random(Random((uint)words.Length) + 1)]);
            text.Append(Random(12) switch { 0 => ", ", 1 => ".\n", 2 => Random(8) == 0 ? "\n\n" : ". ", _ => " " });
        }

        return text.ToString(0, length);
    }
}
