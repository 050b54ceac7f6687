// Fields of config.json that change nothing KvCuda computes: known, so `inspect` does not report them.
namespace KvCuda.Weights;

/// <summary>Which fields of a config.json are known to have no effect on inference, or are read elsewhere.</summary>
static class KnownFields
{
    static readonly HashSet<string> NoEffect = new(StringComparer.Ordinal)
    {
        // read with the tokenizer's files
        "bos_token_id", "eos_token_id",
        // names and versions
        "_name_or_path", "name_or_path", "transformers_version", "model_type", "architectures", "auto_map", "_commit_hash",
        "torch_dtype", "dtype", "id2label", "label2id", "task_specific_params", "tokenizer_class", "prefix", "finetuning_task",
        // training and saving
        "initializer_range", "attention_dropout", "hidden_dropout", "embd_pdrop", "resid_pdrop", "attn_pdrop", "dropout",
        "embed_dropout", "classifier_dropout", "summary_type", "summary_use_proj", "summary_activation", "summary_first_dropout",
        "summary_proj_to_labels", "gradient_checkpointing", "pretraining_tp", "chunk_size_feed_forward",
        "output_router_logits", "router_aux_loss_coef", "train_kv",
        // of the parts of a model that see or hear, and training of Gemma 3n
        "vision_config", "audio_config", "boi_token_id", "eoi_token_id", "boi_token_index", "eoi_token_index", "image_token_id",
        "image_token_index", "video_token_id", "boa_token_id", "eoa_token_id", "eoa_token_index", "audio_token_id", "mm_tokens_per_image",
        "vision_soft_tokens_per_image", "audio_soft_tokens_per_image", "altup_coef_clip", "altup_lr_multiplier",
        // what a call may ask for, not the model
        "use_cache", "output_attentions", "output_hidden_states", "return_dict", "torchscript", "pruned_heads",
        "use_bfloat16", "tf_legacy_loss", "cache_implementation", "attn_implementation", "_attn_implementation",
        "_attn_implementation_autoset", "pad_token_id", "unk_token_id", "sep_token_id", "is_decoder", "add_cross_attention",
        "is_encoder_decoder", "use_sliding_window", "max_window_layers", "sliding_window", "attention_types",
    };

    /// <summary>Those of the fields that nobody knows.</summary>
    public static IReadOnlyList<string> UnknownOf(IEnumerable<string> unread) =>
        [.. unread.Where(name => !NoEffect.Contains(name) && !name.StartsWith("lckv_", StringComparison.Ordinal))];
}
