using System.Buffers;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using KvCuda.Text;

namespace KvCuda.Tests.Text;

public class TokenizerTests
{
    static HuggingFaceTokenizer Family(string name) => HuggingFaceTokenizer.Parse(TextGolden.Family(name).Json, name);

    static string[] Strings() => TextGolden.Read("strings.json").AsArray().Select(n => n!.GetValue<string>()).ToArray();

    [Fact]
    public void Untrusted_text_becomes_no_special_token_whatever_it_spells()
    {
        foreach (string name in (string[])["llama2", "llama3", "qwen3", "gemma3", "tekken"])
        {
            HuggingFaceTokenizer tokenizer = Family(name);
            int? unknown = tokenizer.TokenToId("<unk>");
            foreach (string text in Strings())
            {
                Assert.DoesNotContain(tokenizer.EncodeToIds(text, SpecialTokens.None), id => id != unknown && tokenizer.IsSpecial(id));
            }
        }
    }

    [Fact]
    public void Not_even_merges_or_whole_words_lead_to_a_special_token_for_untrusted_text()
    {
        byte[] json = Encoding.UTF8.GetBytes("""
            {"added_tokens": [
              {"id": 3, "content": "ab", "special": true}, {"id": 4, "content": "x", "special": true}],
             "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}, "decoder": {"type": "ByteLevel"},
             "model": {"type": "BPE", "ignore_merges": true, "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "x": 4, "abc": 5}, "merges": ["a b", "ab c"]}}
            """);
        var tokenizer = HuggingFaceTokenizer.Parse(json);
        Assert.Equal([3], tokenizer.EncodeToIds("ab", SpecialTokens.Parse));
        Assert.Equal([0, 1], tokenizer.EncodeToIds("ab", SpecialTokens.None));
        Assert.Equal([5], tokenizer.EncodeToIds("abc", SpecialTokens.None));
        Assert.Equal([2], tokenizer.EncodeToIds("xc", SpecialTokens.None));
    }

    [Fact]
    public void Byte_level_text_survives_the_way_to_ids_and_back()
    {
        HuggingFaceTokenizer tokenizer = Family("gpt2");
        foreach (string text in Strings())
        {
            Assert.Equal(text, tokenizer.Decode(tokenizer.EncodeToIds(text, SpecialTokens.None), skipSpecialTokens: false));
        }
    }

    [Fact]
    public void Half_of_a_surrogate_pair_is_read_as_a_replacement_character()
    {
        HuggingFaceTokenizer tokenizer = Family("gpt2");
        Assert.Equal(tokenizer.EncodeToIds("a\uFFFDb"), tokenizer.EncodeToIds("a\uD83Db"));
    }

    [Fact]
    public void Random_ids_stream_as_they_decode()
    {
        var random = new Random(3);
        foreach (string name in (string[])["qwen3", "llama2", "metaspace_split", "gemma3"])
        {
            HuggingFaceTokenizer tokenizer = Family(name);
            StreamingDecoder decoder = tokenizer.CreateStreamingDecoder();
            for (int i = 0; i < 300; i++)
            {
                int[] ids = [.. Enumerable.Range(0, random.Next(1, 40)).Select(_ => random.Next(-2, tokenizer.VocabularySize + 3))];
                string text = string.Concat(ids.Select(decoder.Append)) + decoder.Flush();
                Assert.Equal(tokenizer.Decode(ids), text);
            }
        }
    }

    [Fact]
    public void A_character_of_several_tokens_is_held_back_until_it_is_whole()
    {
        HuggingFaceTokenizer tokenizer = Family("gpt2");
        StreamingDecoder decoder = tokenizer.CreateStreamingDecoder();
        string[] parts = [.. tokenizer.EncodeToIds("😀").Select(decoder.Append)];
        Assert.True(parts.Length > 1);
        Assert.All(parts[..^1], part => Assert.Equal("", part));
        Assert.Equal("😀", parts[^1]);
    }

    [Fact]
    public void Tokens_tell_where_they_stand()
    {
        HuggingFaceTokenizer tokenizer = Family("gpt2");
        const string text = "The 😀 model";
        IReadOnlyList<EncodedToken> tokens = tokenizer.EncodeToTokens(text, out string? normalized);
        Assert.Null(normalized);
        Assert.Contains(tokens, t => text[t.Offset] == "😀");
        Assert.Equal("Ġmodel", string.Concat(tokens.Where(t => t.Offset.Start.Value >= 6).Select(t => t.Value)));
        Assert.All(tokens.Where(t => text[t.Offset].Length > 0 && t.Value.All(char.IsAsciiLetter)), t => Assert.Equal(t.Value, text[t.Offset]));
        Assert.Equal(text.Length, tokens[^1].Offset.End.Value);

        int count = tokens.Count;
        Assert.Equal(count, tokenizer.CountTokens(text));
        Assert.Equal(text.Length, tokenizer.GetIndexByTokenCount(text, count, out _, out int all));
        Assert.Equal(count, all);
        Assert.Equal(0, tokenizer.GetIndexByTokenCountFromEnd(text, count, out _, out _));
        Assert.Equal(2, tokenizer.EncodeToIds(text, 2, out _, out _).Count);
    }

    [Fact]
    public void A_normalised_text_is_handed_out_with_its_tokens()
    {
        IReadOnlyList<EncodedToken> tokens = Family("llama2").EncodeToTokens("a b", out string? normalized);
        Assert.Equal("▁a▁b", normalized);
        Assert.Equal("▁a▁b", string.Concat(tokens.Where(t => t.Value != "<s>").Select(t => normalized![t.Offset])));
    }

    sealed class Reversing : Tokenizer
    {
        protected override EncodeResults<EncodedToken> EncodeToTokens(string? text, ReadOnlySpan<char> textSpan, EncodeSettings settings) => new()
        {
            Tokens = [.. textSpan.ToArray().Take(settings.MaxTokenCount).Select((c, i) => new EncodedToken(c, c.ToString(), i..(i + 1)))],
            CharsConsumed = Math.Min(textSpan.Length, settings.MaxTokenCount),
        };

        public override OperationStatus Decode(IEnumerable<int> ids, Span<char> destination, out int idsConsumed, out int charsWritten)
        {
            int[] all = [.. ids];
            (idsConsumed, charsWritten) = (all.Length, all.Length);
            if (destination.Length < all.Length)
            {
                return OperationStatus.DestinationTooSmall;
            }

            for (int i = 0; i < all.Length; i++)
            {
                destination[i] = (char)all[i];
            }

            return OperationStatus.Done;
        }
    }

    [Fact]
    public void A_tokenizer_of_ones_own_needs_two_members()
    {
        Tokenizer tokenizer = new Reversing();
        string text = new('x', 5000);
        Assert.Equal(text, tokenizer.Decode(tokenizer.EncodeToIds(text)));
        Assert.Equal(5000, tokenizer.CountTokens(text));
        Assert.Equal(2, tokenizer.GetIndexByTokenCount("abc", 2, out _, out _));
        Assert.Equal(1, tokenizer.GetIndexByTokenCountFromEnd("abc", 2, out _, out _));
        StreamingDecoder stream = tokenizer.CreateStreamingDecoder();
        Assert.Equal("héllo", string.Concat(tokenizer.EncodeToIds("héllo").Select(stream.Append)) + stream.Flush());
    }

    [Fact]
    public void A_folder_tells_which_tokens_begin_and_end_a_sequence()
    {
        string folder = Directory.CreateTempSubdirectory("kvcuda-text").FullName;
        try
        {
            Assert.Throws<ModelFormatException>(() => Tokenizer.Load(folder));
            File.WriteAllBytes(Path.Combine(folder, "tokenizer.json"), TextGolden.Family("llama3").Json);
            File.WriteAllText(Path.Combine(folder, "tokenizer_config.json"), """{"bos_token": "<|begin_of_text|>", "eos_token": {"content": "<|eot_id|>"}}""");
            File.WriteAllText(Path.Combine(folder, "generation_config.json"), """{"eos_token_id": [7, 9]}""");
            HuggingFaceTokenizer tokenizer = Tokenizer.Load(folder);
            Assert.Equal(tokenizer.TokenToId("<|begin_of_text|>"), tokenizer.BeginningOfSentenceId);
            Assert.Equal([tokenizer.TokenToId("<|eot_id|>")!.Value, 7, 9], tokenizer.EndOfSequenceIds);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Theory]
    [InlineData("""{"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}""", "Unigram")]
    [InlineData("""{"normalizer": {"type": "Precompiled"}, "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}""", "Precompiled")]
    [InlineData("""{"pre_tokenizer": {"type": "BertPreTokenizer"}, "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}""", "BertPreTokenizer")]
    [InlineData("""{"decoder": {"type": "CTC"}, "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}""", "CTC")]
    [InlineData("""{"post_processor": {"type": "BertProcessing"}, "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}""", "BertProcessing")]
    [InlineData("""{"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "\\p{Greek}+"}, "behavior": "Isolated", "invert": false}, "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}""", "Greek")]
    [InlineData("""{"model": {"type": "BPE", "dropout": 0.1, "vocab": {"a": 0}, "merges": []}}""", "dropout")]
    public void What_is_not_known_is_refused_by_name(string json, string name) =>
        Assert.Contains(name, Assert.Throws<UnsupportedModelException>(() => HuggingFaceTokenizer.Parse(Encoding.UTF8.GetBytes(json))).Message,
            StringComparison.Ordinal);

    [Fact]
    public void Damaged_files_are_errors_of_ours_or_load()
    {
        JsonNode small = JsonNode.Parse(TextGolden.Family("llama2").Json)!;
        small["model"]!["vocab"] = JsonNode.Parse("""{"<unk>": 0, "<s>": 1, "</s>": 2, "▁": 3, "a": 4, "▁a": 5, "\u00e9": 6}""");
        small["model"]!["merges"] = JsonNode.Parse("""["▁ a"]""");
        byte[] json = JsonSerializer.SerializeToUtf8Bytes(small);
        var random = new Random(11);
        for (int i = 0; i < 3000; i++)
        {
            byte[] damaged = [.. json];
            for (int n = random.Next(1, 4); n > 0; n--)
            {
                int at = random.Next(damaged.Length);
                switch (random.Next(4))
                {
                    case 0:
                        damaged = [.. damaged[..at], .. damaged[Math.Min(damaged.Length, at + random.Next(1, 30))..]];
                        break;
                    case 1:
                        damaged[at] = (byte)random.Next(256);
                        break;
                    case 2:
                        damaged[at] = (byte)"{}[]\",:0129-eEnulltrue\\"[random.Next(23)];
                        break;
                    default:
                        int to = random.Next(damaged.Length);
                        damaged = [.. damaged[..to], .. damaged[at..Math.Min(damaged.Length, at + 20)], .. damaged[to..]];
                        break;
                }

                if (damaged.Length == 0)
                {
                    damaged = [(byte)'{'];
                }
            }

            try
            {
                var tokenizer = HuggingFaceTokenizer.Parse(damaged);
                tokenizer.Decode(tokenizer.EncodeToIds("a é <s>b"));
            }
            catch (KvCudaException)
            {
            }
        }
    }

    [Fact]
    public void A_megabyte_of_one_letter_is_encoded()
    {
        foreach (string name in (string[])["llama2", "gpt2"])
        {
            HuggingFaceTokenizer tokenizer = Family(name);
            string text = new('a', 1 << 20);
            Assert.Equal(text, tokenizer.Decode(tokenizer.EncodeToIds(text)));
        }
    }
}
