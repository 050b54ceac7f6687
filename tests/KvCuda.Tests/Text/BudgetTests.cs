// Hostile tokenizer files and templates end in a typed error, soon: every operation is paid for by its size.
using System.Text;
using KvCuda.Text;

namespace KvCuda.Tests.Text;

public class BudgetTests
{
    const string Vocabulary = """{"type":"BPE","vocab":{"a":0,"b":1},"merges":[]}""";

    static HuggingFaceTokenizer Parse(string steps) => HuggingFaceTokenizer.Parse(Encoding.UTF8.GetBytes($"{{{steps},\"model\":{Vocabulary}}}"));

    static string Doubling(int steps, string kind) => string.Join(",", Enumerable.Repeat(
        $$"""{"type":"Replace","pattern":{"String":"a"},"content":"aa"}""", steps)) is var all
        ? $$"""{"type":"Sequence","{{kind}}":[{{all}}]}""" : "";

    [Fact]
    public void A_text_that_normalizers_double_without_end_is_an_error()
    {
        HuggingFaceTokenizer tokenizer = Parse($"\"normalizer\":{Doubling(29, "normalizers")}");
        Assert.Contains("tokenizer.json", Assert.Throws<InvalidRequestException>(() => tokenizer.EncodeToIds("a")).Message, StringComparison.Ordinal);
        Assert.Single(tokenizer.EncodeToIds("b"));
        Assert.Equal(256, Parse($"\"normalizer\":{Doubling(8, "normalizers")}").EncodeToIds("a").Count);
    }

    [Fact]
    public void A_text_that_decoders_double_without_end_is_an_error_of_its_own_stream()
    {
        HuggingFaceTokenizer tokenizer = Parse($"\"decoder\":{Doubling(29, "decoders")}");
        Assert.Throws<InvalidRequestException>(() => tokenizer.Decode([0]));
        StreamingDecoder stream = tokenizer.CreateStreamingDecoder();
        Assert.Equal("b", stream.Append(1));
        Assert.Throws<InvalidRequestException>(() => stream.Append(0));
        Assert.Equal("b", tokenizer.CreateStreamingDecoder().Append(1));
    }

    [Fact]
    public void A_pattern_that_decoders_replace_by_much_is_paid_for_before_it_is_built()
    {
        string much = new('x', 5_000_000);
        HuggingFaceTokenizer tokenizer = Parse($$"""
            "decoder":{"type":"Replace","pattern":{"Regex":"a|b"},"content":"{{much}}"}
            """);
        Assert.Throws<InvalidRequestException>(() => tokenizer.Decode([0]));
    }

    [Theory]
    [InlineData("normalizer", "normalizers", """{"type":"NFC"}""")]
    [InlineData("pre_tokenizer", "pretokenizers", """{"type":"Digits"}""")]
    [InlineData("decoder", "decoders", """{"type":"Fuse"}""")]
    public void A_pipeline_of_very_many_steps_is_refused_when_it_is_read(string step, string list, string one)
    {
        string all = string.Join(",", Enumerable.Repeat(one, 100));
        Assert.Throws<ModelFormatException>(() => Parse($$"""
            "{{step}}":{"type":"Sequence","{{list}}":[{{all}}]}
            """));
    }

    [Fact]
    public void Long_ordinary_texts_stay_far_within_the_budget()
    {
        foreach (string name in (string[])["llama2", "llama3", "qwen3", "gemma3"])
        {
            HuggingFaceTokenizer tokenizer = HuggingFaceTokenizer.Parse(TextGolden.Family(name).Json, name);
            string text = string.Concat(Enumerable.Repeat("  \uFDFA \u00E9 word\n", 20_000));
            IReadOnlyList<int> ids = tokenizer.EncodeToIds(text, SpecialTokens.None);
            Assert.NotEmpty(tokenizer.Decode(ids));
        }
    }

    [Theory]
    [InlineData("{% set L = range(1000000) %}{% for i in range(1000000) %}{% if -1 in L %}x{% endif %}{% endfor %}")]
    [InlineData("{% set L = range(1000000) %}{% set M = range(1000000) %}{% for i in range(1000000) %}{{ L == M }}{% endfor %}")]
    [InlineData("{% set L = range(1000000) %}{% for i in range(1000000) %}{{ L.count(-1) }}{% endfor %}")]
    [InlineData("{% set L = range(1000000) %}{% for i in range(1000000) %}{{ L|unique|list|length }}{% endfor %}")]
    [InlineData("{% set s = 'ab' * 2000000 %}{% for i in range(1000000) %}{{ s[1999999] }}{% endfor %}")]
    [InlineData("{% set s = 'ab' * 2000000 %}{% set d = {s: 1} %}{% for i in range(1000000) %}{{ d[s] }}{% endfor %}")]
    [InlineData("{% set s = 'ab' * 2000000 %}{% for i in range(1000000) %}{{ s == s ~ '' }}{% endfor %}")]
    [InlineData("{% set s = 'a' * 4000000 %}{% set t = 'a' * 2000000 ~ 'b' %}{{ t in s }}{{ s.find(t) }}{{ s.count(t) }}{{ s.split(t) }}")]
    [InlineData("{% set s = 'a' * 4000000 %}{% for i in range(1000000) %}{{ s.strip(s) }}{% endfor %}")]
    [InlineData("{% for i in range(1000000) %}{{ ('a'|center(1000000))|length }}{% endfor %}")]
    [InlineData("{% set f = '%9999d' * 100000 %}{% set n = ((1,) * 100000) %}{{ f % n }}")]
    [InlineData("{% set n = namespace(a=[1]) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}{% endfor %}{{ n.a }}")]
    [InlineData("{% set n = namespace(a=[1], b=[1]) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}{% set n.b = [n.b, n.b] %}{% endfor %}{{ n.a == n.b }}")]
    [InlineData("{% set n = namespace(a=(1,)) %}{% for i in range(60) %}{% set n.a = (n.a, n.a) %}{% endfor %}{{ {n.a: 1}|length }}")]
    [InlineData("{% set n = namespace(a=(1,)) %}{% for i in range(500000) %}{% set n.a = (n.a,) %}{% endfor %}{{ {n.a: 1}|length }}")]
    [InlineData("{% set n = namespace(a=[1]) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}{% endfor %}{{ n.a|tojson }}")]
    [InlineData("{% set s = 'x' * 4000000 %}{% for i in range(1000000) %}{{ namespace()|attr(s) }}{% endfor %}")]
    [InlineData("{% set s = 'x,' * 1000000 %}{% for i in range(1000000) %}{% set p = s.split(',') %}{% endfor %}")]
    [InlineData("{% for i in range(1000000) %}{% set s = ('x' * 60000000)|upper|lower %}{% endfor %}")]
    public void A_template_that_does_very_much_ends_in_a_typed_error(string source) =>
        Assert.Throws<InvalidRequestException>(() => new ChatTemplate(source).Render([new("user", "hi")]));

    [Fact]
    public void A_long_conversation_stays_far_within_the_budget()
    {
        var template = new ChatTemplate("{% for m in messages %}{% if '</think>' in m.content %}{{ m.content.split('</think>')[-1].lstrip('\\n') }}"
            + "{% else %}{{ m.content|trim }}{% endif %}{% endfor %}");
        string content = string.Concat(Enumerable.Repeat("all work and no play ", 10_000));
        ChatMessage[] messages = [.. Enumerable.Range(0, 50).Select(i => new ChatMessage("user", content))];
        Assert.Equal(50 * content.TrimEnd().Length, template.Render(messages).Length);
    }

    [Fact]
    public void What_a_branch_that_never_runs_asks_for_is_no_error()
    {
        // Jinja 2 (3.1.6): *args is fine everywhere, an unknown filter is an error only where it runs inside a condition.
        var template = new ChatTemplate("{% macro f(a, b=2) %}{{ a }}{{ b }}{% endmacro %}{% if tools %}{{ f(*tools)|fromjson }}{{ 1 is odder }}{% endif %}"
            + "{{ x|fromjson if tools else '[' }}{{ f(*[1], **{'b': 3}) }}]");
        Assert.Equal("[13]", template.Render([new("user", "hi")]));
        Assert.Contains("the filter 'fromjson'", Assert.Throws<UnsupportedModelException>(() => template.Render([new("user", "hi")],
            variables: new Dictionary<string, object?> { ["tools"] = new[] { 1 } })).Message, StringComparison.Ordinal);
        Assert.Throws<UnsupportedModelException>(() => new ChatTemplate("{{ x|fromjson }}"));
        Assert.Throws<UnsupportedModelException>(() => new ChatTemplate("{{ x is odder }}"));
        Assert.Contains("given twice", Assert.Throws<InvalidRequestException>(() => new ChatTemplate("{{ dict(a=1, **{'a': 2}) }}").Render([]))
            .Message, StringComparison.Ordinal);
        Assert.Throws<InvalidRequestException>(() => new ChatTemplate("{{ range(*3) }}").Render([]));
    }
}
