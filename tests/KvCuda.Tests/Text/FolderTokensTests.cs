// The small files of a Hugging Face folder: special tokens, what begins and ends a text, chat templates.
using KvCuda.Tests.Weights;
using KvCuda.Text;
using KvCuda.Text.Files;

namespace KvCuda.Tests.Text;

public sealed class FolderTokensTests : IDisposable
{
    readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    // Letters a to h are 0 to 7; added: <s> 8, </s> 9, <x> 10 (not special).
    const string Tokenizer = """
        {"added_tokens":[{"id":8,"content":"<s>","special":true},{"id":9,"content":"</s>","special":true},{"id":10,"content":"<x>","special":false}],
         "model":{"type":"BPE","vocab":{"a":0,"b":1,"c":2,"d":3,"e":4,"f":5,"g":6,"h":7},"merges":[]}}
        """;

    HuggingFaceTokenizer Load(string? tokenizerConfig = null, string? map = null, string? generation = null, string? config = null)
    {
        folder.Write("tokenizer.json", Tokenizer);
        foreach ((string name, string? text) in (ReadOnlySpan<(string, string?)>)[("tokenizer_config.json", tokenizerConfig),
            ("special_tokens_map.json", map), ("generation_config.json", generation), ("config.json", config)])
        {
            if (text is not null)
            {
                folder.Write(name, text);
            }
        }
        return KvCuda.Text.Tokenizer.Load(folder.ToString());
    }

    [Fact]
    public void A_text_ends_with_every_id_that_any_file_names()
    {
        HuggingFaceTokenizer tokenizer = Load("""{"eos_token":"</s>"}""", null, """{"eos_token_id":[7,9,-1]}""", """{"eos_token_id":6}""");
        Assert.Equal([9, 7, 6], tokenizer.EndOfSequenceIds);
        Assert.Equal("tokenizer eos_token, generation_config.json", tokenizer.Ends[0].From);
        TextEndings endings = TextEndings.Of(folder.ToString(), tokenizer);
        Assert.Equal([9, 7, 6], endings.Ids);
        Assert.Equal([7, 9, 6], TextEndings.Of(folder.ToString(), null).Ids);
    }

    [Fact]
    public void Stop_strings_end_a_text_too()
    {
        Load(generation: """{"stop_strings":["###"]}""");
        Assert.Equal(["###"], TextEndings.Of(folder.ToString(), null).StopTexts);
    }

    [Theory]
    [InlineData("eos_token")]
    [InlineData("bos_token")]
    public void A_begin_or_end_token_that_the_vocabulary_lacks_is_an_error(string name)
    {
        string error = Assert.Throws<ModelFormatException>(() => Load($$"""{"{{name}}":"<nowhere>"}""")).Message;
        Assert.Contains($"{name} is '<nowhere>'", error, StringComparison.Ordinal);
    }

    [Fact]
    public void Special_tokens_map_speaks_where_tokenizer_config_has_no_added_tokens_decoder()
    {
        Assert.Equal(8, Load("""{"tokenizer_class":"PreTrainedTokenizerFast"}""", """{"bos_token":{"content":"<s>"}}""").BeginningOfSentenceId);
        Assert.Equal("<s>", ChatTemplateVariable("{{ bos_token }}"));
        Assert.Null(Load("""{"added_tokens_decoder":{}}""", """{"bos_token":"<s>"}""").BeginningOfSentenceId);
        Assert.Equal("", ChatTemplateVariable("{{ bos_token }}"));
    }

    string ChatTemplateVariable(string template)
    {
        folder.Write("chat_template.jinja", template);
        return ChatTemplate.Load(folder.ToString())!.Render([new("user", "x")]);
    }

    [Fact]
    public void A_class_that_adds_begin_tokens_adds_them_whatever_the_post_processor_says()
    {
        Assert.Equal([0], Load("""{"tokenizer_class":"PreTrainedTokenizerFast","bos_token":"<s>","add_bos_token":true}""").EncodeToIds("a"));
        Assert.Equal([8, 0], Load("""{"tokenizer_class":"LlamaTokenizerFast","bos_token":"<s>","add_bos_token":true}""").EncodeToIds("a"));
        Assert.Equal([0, 9], Load("""{"tokenizer_class":"LlamaTokenizer","bos_token":"<s>","eos_token":"</s>","add_bos_token":false,"add_eos_token":true}""")
            .EncodeToIds("a"));
        Assert.Equal([8, 0], Load("""{"tokenizer_class":"LlamaTokenizer"}""").EncodeToIds("a"));
        Assert.Equal([0], Load("""{"tokenizer_class":"GPTNeoXTokenizerFast","bos_token":"<s>"}""").EncodeToIds("a"));
        Assert.Contains("add_bos_token is true", Assert.Throws<ModelFormatException>(() =>
            Load("""{"tokenizer_class":"GemmaTokenizer","add_bos_token":true}""")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Tokens_that_only_added_tokens_decoder_has_are_tokens()
    {
        HuggingFaceTokenizer tokenizer = Load("""{"added_tokens_decoder":{"11":{"content":"<new>","special":true},"10":{"content":"<x>","special":true}}}""");
        Assert.Equal([11, 0, 10], tokenizer.EncodeToIds("<new>a<x>"));
        Assert.True(tokenizer.IsSpecial(10));
        Assert.Equal("a", tokenizer.Decode([11, 0, 10]));
        Assert.Contains("has the id 0 there, but added_tokens_decoder in tokenizer_config.json says 5", Assert.Throws<ModelFormatException>(() =>
            Load("""{"added_tokens_decoder":{"5":{"content":"a"}}}""")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_token_with_a_role_is_special_and_found_in_text()
    {
        HuggingFaceTokenizer tokenizer = Load("""{"eos_token":"h","additional_special_tokens":["<x>"]}""");
        Assert.Equal("a", tokenizer.Decode(tokenizer.EncodeToIds("a<x>h")));
    }

    [Theory]
    [InlineData("tokenizer_config.json", "{", "is not valid JSON")]
    [InlineData("tokenizer_config.json", "[]", "should be a JSON object")]
    [InlineData("tokenizer_config.json", """{"add_bos_token":1,"tokenizer_class":"LlamaTokenizer"}""", "add_bos_token should be true or false; it is 1")]
    [InlineData("tokenizer_config.json", """{"added_tokens_decoder":{"x":{"content":"a"}}}""", "the entry 'x' of added_tokens_decoder")]
    [InlineData("tokenizer_config.json", """{"added_tokens_decoder":7}""", "added_tokens_decoder should be")]
    [InlineData("generation_config.json", """{"eos_token_id":"x"}""", "a token id or a list of them")]
    [InlineData("config.json", """{"eos_token_id":[1,"x"]}""", "a token id or a list of them")]
    [InlineData("special_tokens_map.json", """{"eos_token":{"text":"a"}}""", "eos_token should be a token")]
    public void A_malformed_field_is_named_with_its_file(string name, string json, string reason)
    {
        folder.Write(name, json);
        string error = Assert.Throws<ModelFormatException>(() => Load()).Message;
        Assert.Contains(name, error, StringComparison.Ordinal);
        Assert.Contains(reason, error, StringComparison.Ordinal);
    }

    [Fact]
    public void What_would_give_other_ids_is_refused_by_name()
    {
        Assert.Contains("split_special_tokens", Assert.Throws<UnsupportedModelException>(() =>
            Load("""{"split_special_tokens":true}""")).Message, StringComparison.Ordinal);
        folder.Write("tokenizer.json", """
            {"normalizer":{"type":"Prepend","prepend":"x"},"model":{"type":"BPE","vocab":{"x":0},"merges":[]}}
            """);
        folder.Write("tokenizer_config.json", """{"add_prefix_space":false}""");
        Assert.Contains("add_prefix_space", Assert.Throws<UnsupportedModelException>(() =>
            KvCuda.Text.Tokenizer.Load(folder.ToString())).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Fields_that_nothing_reads_and_suggestions_are_known_by_name()
    {
        Load("""{"fix_everything":true,"model_max_length":4}""", null, """{"temperature":0.7,"forced_eos_token_id":3}""");
        FolderTokens tokens = FolderTokens.Read(folder.ToString());
        Assert.Equal(["tokenizer_config.json: fix_everything", "generation_config.json: forced_eos_token_id"], tokens.Unread);
        Assert.Equal(["temperature 0.7"], tokens.Suggestions);
    }

    [Fact]
    public void Chat_templates_are_found_wherever_a_folder_keeps_them()
    {
        Assert.Null(ChatTemplate.Load(folder.ToString()));
        folder.Write("tokenizer_config.json", """{"chat_template":[{"name":"default","template":"field"},{"name":"rag","template":"rag"}]}""");
        Assert.Equal(("field", "rag"), (Source("default"), Source("rag")));
        folder.Write("chat_template.json", """{"chat_template":"processor"}""");
        Assert.Equal("processor", Source("default"));
        folder.Write("chat_template.jinja", "file");
        Directory.CreateDirectory(folder["additional_chat_templates"]);
        folder.Write("additional_chat_templates/tool_use.jinja", "tools");
        Assert.Equal(("file", "tools", "rag", "file"), (Source("default"), Source("tool_use"), Source("rag"), Source("nothing")));

        string Source(string variant) => ChatTemplate.Load(folder.ToString(), variant)!.Source;
    }

    [Theory]
    [InlineData("7")]
    [InlineData("""[{"name":"default"}]""")]
    [InlineData("""{"default":3}""")]
    [InlineData("""[{"name":"rag","template":"x"}]""")]
    public void A_chat_template_that_is_none_is_an_error_and_not_nothing(string value)
    {
        folder.Write("tokenizer_config.json", $$"""{"chat_template":{{value}}}""");
        Assert.Throws<ModelFormatException>(() => ChatTemplate.Load(folder.ToString()));
    }
}
