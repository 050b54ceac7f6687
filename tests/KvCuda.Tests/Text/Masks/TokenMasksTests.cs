// Masks beside their definition: a token may come next if its bytes may, whatever tokenizer it is of.
using System.Text.Json;
using KvCuda.Tests.Text;
using KvCuda.Text;
using KvCuda.Text.Masks;

namespace KvCuda.Tests.Text.Masks;

public class TokenMasksTests
{
    const string Person = """
        {"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},
         "tags":{"type":"array","items":{"enum":["red","green","blue"]}},"mate":{"anyOf":[{"$ref":"#"},{"type":"null"}]}},
         "required":["name","age","tags","mate"],"additionalProperties":false}
        """;

    public static TheoryData<string, string> Cases
    {
        get
        {
            var cases = new TheoryData<string, string>();
            foreach (string family in (string[])["qwen3", "llama2", "gemma3", "gpt2", "metaspace_split"])
            {
                cases.Add(family, Person);
                cases.Add(family, "{}");
                cases.Add(family, "/(yes|no), [a-z ]{1,20}\\./");
            }
            return cases;
        }
    }

    static TextGrammar Grammar(string text) => text[0] == '/' ? TextGrammar.Regex(text[1..^1]) : TextGrammar.JsonSchema(text);

    [Theory]
    [MemberData(nameof(Cases))]
    public void A_mask_allows_exactly_the_tokens_whose_text_may_come_next(string family, string grammar)
    {
        HuggingFaceTokenizer tokenizer = HuggingFaceTokenizer.Parse(TextGolden.Family(family).Json, family);
        int end = tokenizer.VocabularySize, vocabulary = end + 70; // padding, as models have it
        var masks = new TokenMasks(Grammar(grammar), tokenizer, vocabulary, [end]);
        masks.Prepare();
        var random = new Random(4);
        var mask = new ulong[masks.MaskWords];
        for (int text = 0; text < 6; text++)
        {
            MaskCursor cursor = masks.Begin();
            var ids = new List<int>();
            StreamingDecoder stream = tokenizer.CreateStreamingDecoder();
            string written = "";
            while (ids.Count < 60 && !cursor.HasEnded)
            {
                cursor.Fill(mask);
                List<int> allowed = [.. Enumerable.Range(0, vocabulary).Where(id => (mask[id >> 6] >> (id & 63) & 1) != 0)];
                Assert.NotEmpty(allowed);
                List<int> defined = [.. Enumerable.Range(0, vocabulary).Where(id => cursor.Fork().Accept(id))];
                Assert.Equal(defined, allowed);
                // Long texts would never end: an end is preferred, then what closes.
                int next = allowed.Contains(end) && random.Next(2) == 0 ? end
                    : random.Next(3) == 0 && allowed.FirstOrDefault(id => tokenizer.IdToToken(id) is "\"" or "}" or "]" or ".", -1) is >= 0 and var closing
                    ? closing : allowed[random.Next(allowed.Count)];
                Assert.True(cursor.Accept(next));
                if (next != end)
                {
                    ids.Add(next);
                    written += stream.Append(next);
                }
            }
            written += stream.Flush();
            if (cursor.HasEnded)
            {
                // What a client reads is a text of the grammar, decoded by whatever rules.
                Assert.True(masks.Step(masks.Start, System.Text.Encoding.UTF8.GetBytes(written)) is { Accepts: true }, written);
                if (grammar[0] == '{')
                {
                    JsonDocument.Parse(written).Dispose();
                }
                cursor.Fill(mask);
                Assert.All(mask, word => Assert.Equal(0UL, word));
                Assert.False(cursor.Accept(end));
            }
        }
    }

    [Fact]
    public void A_text_that_is_taken_back_goes_on_as_if_it_had_never_been()
    {
        HuggingFaceTokenizer tokenizer = HuggingFaceTokenizer.Parse(TextGolden.Family("qwen3").Json, "qwen3");
        var masks = new TokenMasks(TextGrammar.JsonSchema(Person), tokenizer, tokenizer.VocabularySize, []);
        MaskCursor cursor = masks.Begin();
        foreach (int id in tokenizer.EncodeToIds("{\"name\": \"", SpecialTokens.None))
        {
            Assert.True(cursor.Accept(id));
        }
        ulong[] before = new ulong[masks.MaskWords], after = new ulong[masks.MaskWords];
        cursor.Fill(before);
        MaskCursor draft = cursor.Fork();
        foreach (int id in tokenizer.EncodeToIds("Ann\", \"age\": 3", SpecialTokens.None))
        {
            Assert.True(draft.Accept(id));
        }
        cursor.Fill(after);
        Assert.Equal(before, after);
        Assert.False(cursor.Accept(tokenizer.VocabularySize + 5));
    }
}
