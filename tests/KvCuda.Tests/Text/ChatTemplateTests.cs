using System.Text;
using KvCuda.Text;

namespace KvCuda.Tests.Text;

public class ChatTemplateTests
{
    static readonly Dictionary<string, object?> Nothing = [];

    static string Render(string template) => new ChatTemplate(template).Render(Nothing);

    [Theory]
    [InlineData("a\nb {% include 'x' %}", "line 2", "include")]
    [InlineData("{{ 1 | nosuch }}", "line 1", "nosuch")]
    [InlineData("\n\n{{ 1 is nosuch }}", "line 3", "nosuch")]
    [InlineData("{{ 1 }}\n{% autoescape true %}{% endautoescape %}", "line 2", "autoescape")]
    public void An_unknown_construct_is_named_with_its_line(string template, string line, string name)
    {
        var error = Assert.Throws<UnsupportedModelException>(() => new ChatTemplate(template));
        Assert.Contains(line, error.Message, StringComparison.Ordinal);
        Assert.Contains(name, error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{% for i in range(1000000) %}{% for j in range(1000000) %}{% endfor %}{% endfor %}")]
    [InlineData("{% set ns = namespace(s='x') %}{% for i in range(64) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}")]
    [InlineData("{{ 'x' * 1000000000000 }}")]
    [InlineData("{{ [1] * 1000000000 }}")]
    [InlineData("{{ range(100000000) }}")]
    [InlineData("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}")]
    [InlineData("{% macro f(n) %}{{ f(n) ~ f(n) }}{% endmacro %}{{ f(1) }}")]
    [InlineData("{{ '%1000000000d' % 1 }}")]
    [InlineData("{{ 'aaaa'.replace('', 'x' * 60000000) }}")]
    [InlineData("{{ 2 ** 1000000000 }}")]
    [InlineData("{{ -(-9223372036854775807 - 1) }}")]
    [InlineData("{% for x in [[]] recursive %}{{ loop([[]]) }}{% endfor %}")]
    public void A_template_that_wants_too_much_is_stopped(string template) =>
        Assert.Throws<InvalidRequestException>(() => Render(template));

    [Fact]
    public void A_chain_as_long_as_the_template_does_not_break_the_stack()
    {
        string chain = "{{ 1" + string.Concat(Enumerable.Repeat(" + 1", 200_000)) + " }}";
        Assert.Throws<InvalidRequestException>(() => Render(chain));
        Assert.Throws<ModelFormatException>(() => Render("{{ " + new string('(', 100_000) + " }}"));
        Assert.Throws<ModelFormatException>(() => Render(string.Concat(Enumerable.Repeat("{% if 1 %}", 50_000))));
    }

    [Theory]
    [InlineData("{{ ''.__class__ }}", "")]
    [InlineData("{{ ''.Length }}{{ [].Count }}{{ {}.Keys }}", "")]
    public void Nothing_of_dotnet_or_python_shows_through(string template, string text) => Assert.Equal(text, Render(template));

    [Fact]
    public void What_a_template_raises_reaches_the_caller()
    {
        var template = new ChatTemplate("x\n{{ raise_exception('roles must alternate') }}", "model/chat_template.jinja");
        var error = Assert.Throws<InvalidRequestException>(() => template.Render([new ChatMessage("user", "hi")]));
        Assert.Equal("model/chat_template.jinja, line 2: roles must alternate", error.Message);
    }

    [Fact]
    public void Messages_special_tokens_and_variables_are_seen()
    {
        var template = new ChatTemplate(
            "{{ bos_token }}{% for m in messages %}{{ m.role }}={{ m['content'] }};{% endfor %}{{ tools is none }}{{ add_generation_prompt }}{{ x }}",
            specialTokens: new Dictionary<string, string> { ["bos_token"] = "<s>" });
        Assert.Equal("<s>user=hi;TrueFalse[1, 'a', None]", template.Render([new ChatMessage("user", "hi")],
            addGenerationPrompt: false, new Dictionary<string, object?> { ["x"] = new object?[] { 1, "a", null } }));
    }

    [Fact]
    public void A_folder_gives_its_template_in_each_of_the_forms_it_comes_in()
    {
        string folder = Directory.CreateTempSubdirectory("kvcuda-text").FullName;
        try
        {
            Assert.Null(ChatTemplate.Load(folder));
            string config = Path.Combine(folder, "tokenizer_config.json");
            File.WriteAllText(config, """{"bos_token": {"content": "<b>"}, "chat_template": "one{{ bos_token }}"}""");
            Assert.Equal("one<b>", ChatTemplate.Load(folder)!.Render([]));
            File.WriteAllText(config, """{"chat_template": [{"name": "default", "template": "two"}, {"name": "tool_use", "template": "three"}]}""");
            Assert.Equal("two", ChatTemplate.Load(folder)!.Render([]));
            Assert.Equal("three", ChatTemplate.Load(folder, "tool_use")!.Render([]));
            Assert.Equal("two", ChatTemplate.Load(folder, "rag")!.Render([]));
            File.WriteAllText(Path.Combine(folder, "chat_template.jinja"), "four");
            Assert.Equal("four", ChatTemplate.Load(folder)!.Render([]));
            File.WriteAllText(config, "{");
            Assert.Throws<ModelFormatException>(() => ChatTemplate.Load(folder));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public void Damaged_templates_are_errors_of_ours_or_render()
    {
        string[] sources = [.. Directory.GetFiles(TextGolden.Folder, "*.jinja").Select(File.ReadAllText)];
        var random = new Random(5);
        var variables = new Dictionary<string, object?>
        {
            ["messages"] = new List<object?> { new Dictionary<string, object?> { ["role"] = "user", ["content"] = "hi" } },
            ["tools"] = null,
        };
        for (int i = 0; i < 1500; i++)
        {
            var text = new StringBuilder(sources[i % sources.Length]);
            for (int n = random.Next(1, 6); n > 0; n--)
            {
                int at = random.Next(text.Length);
                switch (random.Next(3))
                {
                    case 0:
                        text.Remove(at, Math.Min(random.Next(1, 20), text.Length - at));
                        break;
                    case 1:
                        text[at] = "{}%#()[]'\"|.,:~+-*/ =<>\\x01é"[random.Next(28)];
                        break;
                    default:
                        string piece = text.ToString(at, Math.Min(random.Next(1, 40), text.Length - at));
                        text.Insert(random.Next(text.Length), piece);
                        break;
                }
            }

            try
            {
                new ChatTemplate(text.ToString()).Render(variables);
            }
            catch (KvCudaException)
            {
            }
        }
    }
}
