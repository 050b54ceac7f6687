// What becomes of fields that the server does not act on: nothing that was asked for is dropped in silence.
using System.Text.Json;

namespace KvCuda.Server;

/// <summary>
/// Fields that are neither done nor of OpenAI's own refused ones: those that ask for nothing of an answer are taken, values that mean "as it is anyway" are
/// taken, all else is an error that names the field.
/// </summary>
static class FieldRules
{
    /// <summary>About who asks and how it is billed, routed or sped up: an answer is the same with and without.</summary>
    static readonly HashSet<string> silent = new(StringComparer.Ordinal)
    {
        "user", "metadata", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "prediction", "parallel_tool_calls",
        "request_id", "id_slot", "slot_id",
    };

    /// <summary>Known elsewhere and not done here, with the value that changes nothing.</summary>
    static readonly Dictionary<string, string[]> neutral = new(StringComparer.Ordinal)
    {
        ["store"] = ["false"],
        ["verbosity"] = ["\"medium\""],
        ["use_beam_search"] = ["false"],
        ["length_penalty"] = ["1", "1.0"],
        ["early_stopping"] = ["false"],
        ["min_tokens"] = ["0"],
        ["include_stop_str_in_output"] = ["false"],
        ["skip_special_tokens"] = ["true"],
        ["spaces_between_special_tokens"] = ["true"],
        ["detokenize"] = ["true"],
        ["return_token_ids"] = ["false"],
        ["return_tokens_as_token_ids"] = ["false"],
        ["return_tokens"] = ["false"],
        ["return_progress"] = ["false"],
        ["timings_per_token"] = ["false"],
        ["post_sampling_probs"] = ["false"],
        ["n_probs"] = ["0"],
        ["typical_p"] = ["1", "1.0"],
        ["typ_p"] = ["1", "1.0"],
        ["tfs_z"] = ["1", "1.0"],
        ["top_a"] = ["0", "0.0"],
        ["xtc_probability"] = ["0", "0.0"],
        ["dry_multiplier"] = ["0", "0.0"],
        ["dynatemp_range"] = ["0", "0.0"],
        ["mirostat"] = ["0"],
        ["n_keep"] = ["0"],
        ["bad_words"] = ["[]"],
        ["allowed_token_ids"] = ["[]"],
        ["lora"] = ["[]"],
        ["grammar"] = ["\"\""],
    };

    /// <summary>Refuses what is left of a request.</summary>
    /// <param name="others">fields that are not acted on</param>
    /// <param name="within">before their names in errors: "stream_options."</param>
    /// <exception cref="ApiException">400: it asks for something.</exception>
    public static void Check(Dictionary<string, JsonElement>? others, string within = "")
    {
        foreach ((string name, JsonElement value) in others ?? [])
        {
            if (value.ValueKind == JsonValueKind.Null || (within.Length == 0 && silent.Contains(name))
                || (neutral.TryGetValue(name, out string[]? same) && same.Contains(value.GetRawText(), StringComparer.Ordinal)))
            {
                continue;
            }
            string told = within + (name.Length <= 100 ? name : name[..100]);
            throw same is not null
                ? ApiException.Bad($"{told} asks for what this server cannot do; leave it out, or give {same[0]}.", told, "unsupported_parameter")
                : ApiException.Bad($"{told} is not a parameter that this server knows; leave it out. It would have no effect.", told, "unknown_parameter");
        }
    }
}
