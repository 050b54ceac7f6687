// Grammars beside independent definitions: .NET's regular expressions, arithmetic, and a small validator of JSON Schema.
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using KvCuda.Tests.Text;
using KvCuda.Text;
using KvCuda.Text.Masks;

namespace KvCuda.Tests.Text.Masks;

public class GrammarTests
{
    static readonly JsonSerializerOptions AsItIs = new()
    {
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    static readonly JsonSerializerOptions Pretty = new() { WriteIndented = true, NewLine = "\n" };

    static readonly HuggingFaceTokenizer Tokenizer = HuggingFaceTokenizer.Parse(TextGolden.Family("qwen3").Json, "qwen3");

    static bool Accepts(TokenMasks masks, string text) => masks.Step(masks.Start, Encoding.UTF8.GetBytes(text)) is { Accepts: true };

    static TokenMasks Masks(TextGrammar grammar) => new(grammar, Tokenizer, Tokenizer.VocabularySize, []);

    static IEnumerable<string> Strings(string alphabet, int most)
    {
        List<string> all = [""];
        for (int from = 0, length = 1; length <= most; length++)
        {
            int end = all.Count;
            for (; from < end; from++)
            {
                all.AddRange(alphabet.Select(c => all[from] + c));
            }
        }
        return all;
    }

    [Theory]
    [InlineData("(a|b)*abb")]
    [InlineData("a{2,3}b?")]
    [InlineData("(ab|a)(b|)?0*")]
    [InlineData("[^a]+0?")]
    [InlineData("(a+b)*|0{2}")]
    [InlineData("\\d+(\\.\\d)?|[ab-]*")]
    [InlineData("((a|b)(a|0)){1,2}")]
    public void A_pattern_accepts_what_it_matches_as_a_whole(string pattern)
    {
        TokenMasks masks = Masks(TextGrammar.Regex(pattern));
        var regex = new Regex($"^(?:{pattern})\\z", RegexOptions.ECMAScript);
        foreach (string text in Strings("ab0-.", 5))
        {
            Assert.True(regex.IsMatch(text) == Accepts(masks, text), $"{pattern} and '{text}'");
        }
    }

    [Theory]
    [InlineData("a")]
    [InlineData("^ab")]
    [InlineData("b$")]
    [InlineData("^a|0$")]
    [InlineData("^(a|\"|\\\\)*$")]
    public void A_pattern_in_a_schema_is_looked_for_in_the_text_that_the_string_means(string pattern)
    {
        TokenMasks masks = Masks(TextGrammar.JsonSchema(JsonSerializer.Serialize(new { type = "string", pattern })));
        foreach (string text in Strings("ab0\"\\", 4))
        {
            string json = JsonSerializer.Serialize(text, AsItIs);
            Assert.True(Regex.IsMatch(text, pattern) == Accepts(masks, json), $"{pattern} and {json}");
        }
    }

    [Theory]
    [InlineData(0, 0)]
    [InlineData(-7, 13)]
    [InlineData(5, 1000)]
    [InlineData(-999, -10)]
    [InlineData(98, 101)]
    public void A_range_of_integers_accepts_exactly_its_numbers(int low, int high)
    {
        TokenMasks masks = Masks(TextGrammar.JsonSchema($$"""{"type":"integer","minimum":{{low}},"exclusiveMaximum":{{high + 1}}}"""));
        for (int n = -1200; n <= 1200; n++)
        {
            Assert.True((n >= low && n <= high) == Accepts(masks, $"{n}"), $"{n}");
        }
        Assert.False(Accepts(masks, "-0"));
        Assert.False(Accepts(masks, "01"));
    }

    [Theory]
    [InlineData("""{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":["string","null"]}},"required":["a"],"additionalProperties":false}""",
        """{"a":1}|{"a": -20, "b": null}|{"a":0,"b":"x\"\u00e9\ud83d\ude00"}""", """{}|{"b":"x","a":1}|{"a":1,}|{"a":1.5}|{"a":1,"c":2}|{"a":1}}|{"a":01}|{"a":1,"b":"\ud83d"}""")]
    [InlineData("""{"type":"array","items":{"enum":["x",2,{"k":[1]}]},"minItems":1,"maxItems":2}""", """["x"]|[2, "x"]|[{"k":[1]}]""", """[]|["x","x","x"]|["y"]|["x",]""")]
    [InlineData("""{"$ref":"#/$defs/tree","$defs":{"tree":{"type":"object","properties":{"left":{"anyOf":[{"$ref":"#/$defs/tree"},{"type":"null"}]}},"required":["left"],"additionalProperties":false}}}""",
        """{"left":null}|{"left":{"left":{"left":null}}}""", """{"left":{}}|{"left":{"left":null}|null""")]
    [InlineData("""{"type":"object","properties":{"ab":{"type":"boolean"},"abc":{"type":"null"}}}""",
        """{}|{"ab":true,"abd":[1]}|{"x":{"y":null},"z":1e5}|{"abc":null}|{"a":"ab"}|{"ab":true,"abc":null,"":0}""", """{"ab":1}|{"abc":1}|{"x":1,"ab":true}""")]
    [InlineData("""{"type":"object","additionalProperties":{"type":"integer"}}""", """{}|{"a":1,"b":2}""", """{"a":"x"}""")]
    [InlineData("""{"type":"string","minLength":2,"maxLength":3}""", "\"ab\"|\"äöü\"|\"\\n\\\"x\"", "\"a\"|\"abcd\"|ab")]
    [InlineData("""{"type":"string","format":"date"}""", "\"2026-12-01\"", "\"2026-13-01\"|\"2026-12-1\"")]
    [InlineData("""{"type":"number"}""", """0|-1.5e-10|12|1E+3""", """01|.5|1.|--1|+1""")]
    [InlineData("true", """[{"a":[null,true]}]|"x"|3""", """[|{"a"}|nul""")]
    public void A_schema_accepts_its_texts_and_no_others(string schema, string good, string bad)
    {
        TokenMasks masks = Masks(TextGrammar.JsonSchema(schema));
        Assert.All(good.Split('|'), text => Assert.True(Accepts(masks, text), text));
        Assert.All(bad.Split('|'), text => Assert.False(Accepts(masks, text), text));
    }

    [Fact]
    public void Any_JSON_object_in_any_usual_layout_is_one()
    {
        TokenMasks masks = Masks(TextGrammar.JsonObject());
        string pretty = JsonSerializer.Serialize(new { a = new object?[] { 1, "x", null, new { b = true } }, c = new { } },
            Pretty);
        Assert.True(Accepts(masks, pretty));
        Assert.True(Accepts(masks, pretty.Replace("\n", "", StringComparison.Ordinal).Replace("  ", "", StringComparison.Ordinal)));
        Assert.False(Accepts(masks, "[1]"));
    }

    [Theory]
    [InlineData("""{"type":"object","patternProperties":{}}""", "'patternProperties'")]
    [InlineData("""{"type":"array","uniqueItems":true}""", "'uniqueItems'")]
    [InlineData("""{"type":"number","minimum":0}""", "minimum for type number")]
    [InlineData("""{"type":"integer","multipleOf":3}""", "'multipleOf'")]
    [InlineData("""{"type":"object","properties":{"a":{"type":"thing"}}}""", "#/properties/a has the type 'thing'")]
    [InlineData("""{"allOf":[{"type":"object"},{"type":"object"}]}""", "allOf of several")]
    [InlineData("""{"$ref":"https://example.org/x"}""", "only references within the schema")]
    [InlineData("""{"$ref":"#/$defs/x"}""", "which is not in the schema")]
    [InlineData("""{"$ref":"#"}""", "allows no text")]
    [InlineData("""{"type":"integer","minimum":3,"maximum":2}""", "allows no integer")]
    [InlineData("""{"type":"string","format":"email"}""", "the format 'email'")]
    [InlineData("""{"type":"string","pattern":"(?=a)b"}""", "not regular")]
    [InlineData("""{"type":"string","pattern":"a^"}""", "not regular")]
    [InlineData("""{"type":"string","pattern":"(a*)*b"}""", "can match nothing")]
    [InlineData("""{"type":"object","required":["x"]}""", "requires 'x'")]
    [InlineData("""{"type":"string","pattern":"(a{1000}){1000}"}""", "states")]
    [InlineData("""{"type":"array","minItems":-1}""", "minItems")]
    [InlineData("""[1""", "not valid JSON")]
    [InlineData("3", "is not a schema")]
    public void What_cannot_be_enforced_is_refused_by_name(string schema, string reason)
    {
        string message = Assert.Throws<InvalidRequestException>(() => Masks(TextGrammar.JsonSchema(schema))).Message;
        Assert.Contains(reason, message, StringComparison.Ordinal);
    }
}
