using System.Text;
using System.Text.Json.Nodes;
using KvCuda.Text;

namespace KvCuda.Tests.Text;

/// <summary>Ids and texts equal those of the reference library, for every family of tokenizer file.</summary>
public class TokenizerGoldenTests
{
    public static TheoryData<string> Families { get; } = new(
        Directory.GetFiles(TextGolden.Folder, "family-*.json").Select(f => Path.GetFileNameWithoutExtension(f)["family-".Length..]).Order());

    [Theory]
    [MemberData(nameof(Families))]
    public void A_family_encodes_and_decodes_as_the_reference_does(string family)
    {
        (byte[] json, JsonNode expected) = TextGolden.Family(family);
        Compare(HuggingFaceTokenizer.Parse(json, family), TextGolden.Read("strings.json").AsArray(), expected.AsArray());
    }

    [Fact]
    public void Full_vocabularies_encode_and_decode_as_the_reference_does()
    {
        string[] folders = Directory.Exists(TextGolden.FullFolder)
            ? [.. Directory.GetDirectories(TextGolden.FullFolder).Where(d => File.Exists(Path.Combine(d, "golden.json")))] : [];
        Assert.SkipWhen(folders.Length == 0, "no full tokenizers: tests/fetch-tokenizers.sh brings them");
        foreach (string folder in folders)
        {
            JsonNode golden = JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "golden.json")))!;
            Compare(Tokenizer.Load(folder), golden["strings"]!.AsArray(), golden["expected"]!.AsArray());
        }
    }

    static void Compare(HuggingFaceTokenizer tokenizer, JsonArray strings, JsonArray expected)
    {
        for (int i = 0; i < strings.Count; i++)
        {
            // [ids with special tokens, how many of them stand in front, text without special tokens (null: the string), with (null: the same)]
            string text = strings[i]!.GetValue<string>();
            int[] ids = [.. expected[i]![0]!.AsArray().Select(n => n!.GetValue<int>())];
            int before = expected[i]![1]!.GetValue<int>();
            string decoded = expected[i]![2]?.GetValue<string>() ?? text;
            string decodedWithSpecials = expected[i]![3]?.GetValue<string>() ?? decoded;

            Assert.Equal(ids, tokenizer.EncodeToIds(text));
            Assert.Equal(ids[before..], tokenizer.EncodeToIds(text, SpecialTokens.Parse));
            Assert.Equal(ids, tokenizer.EncodeToTokens(text, out _).Select(t => t.Id));
            Assert.Equal(decoded, tokenizer.Decode(ids));
            Assert.Equal(decodedWithSpecials, tokenizer.Decode(ids, skipSpecialTokens: false));
            Assert.Equal(decoded, Stream(tokenizer.CreateStreamingDecoder(), ids));
            Assert.Equal(decodedWithSpecials, Stream(tokenizer.CreateStreamingDecoder(skipSpecialTokens: false), ids));
        }
    }

    static string Stream(StreamingDecoder decoder, int[] ids)
    {
        var text = new StringBuilder();
        foreach (int id in ids)
        {
            text.Append(decoder.Append(id));
        }

        return text.Append(decoder.Flush()).ToString();
    }
}
