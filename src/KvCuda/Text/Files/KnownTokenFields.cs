// Fields of tokenizer_config.json and generation_config.json that are known: read, or without effect here.
namespace KvCuda.Text.Files;

/// <summary>Which fields `inspect` need not report.</summary>
static class KnownTokenFields
{
    static readonly HashSet<string> Tokenizer = new(StringComparer.Ordinal)
    {
        // read
        "added_tokens_decoder", "additional_special_tokens", "extra_special_tokens", "add_bos_token", "add_eos_token", "add_prefix_space",
        "chat_template", "tokenizer_class", "split_special_tokens",
        // No effect on ids where tokenizer.json is used, or a matter of Python.
        "model_max_length", "padding_side", "truncation_side", "padding", "truncation", "max_length", "stride", "pad_to_multiple_of",
        "legacy", "use_fast", "sp_model_kwargs", "spaces_between_special_tokens", "name_or_path", "special_tokens_map_file", "tokenizer_file",
        "processor_class", "model_input_names", "use_default_system_prompt", "errors", "backend", "is_local", "local_files_only",
        "truncation_strategy", "pad_token_type_id", "return_token_type_ids", "vocab_size", "image_token_id",
        // Spacing of decoded text only; servers of other projects do not apply it to streams either.
        "clean_up_tokenization_spaces",
    };

    static readonly HashSet<string> Generation = new(StringComparer.Ordinal)
    {
        "eos_token_id", "bos_token_id", "pad_token_id", "stop_strings", "_from_model_config", "transformers_version", "use_cache",
        "cache_implementation", "max_length", "return_dict_in_generate", "trust_remote_code", "_commit_hash", "output_attentions",
        "output_hidden_states",
        // suggestions, printed as such
        "do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty", "max_new_tokens", "presence_penalty",
        "frequency_penalty", "min_new_tokens",
    };

    public static bool OfTokenizer(string name) => Tokenizer.Contains(name) || name.EndsWith("_token", StringComparison.Ordinal);

    public static bool OfGeneration(string name) => Generation.Contains(name);
}
