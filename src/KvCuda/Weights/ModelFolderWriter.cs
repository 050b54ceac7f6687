using System.Text.Json;
using System.Text.Json.Nodes;
using KvCuda.Tensors;

namespace KvCuda.Weights;

/// <summary>The small files of a new model folder: config.json, changed where needed, and the tokenizer's files.</summary>
static class ModelFolderWriter
{
    /// <summary>What belongs to the tokenizer and to generation, and is copied as it is.</summary>
    public static readonly string[] TokenizerFiles =
    [
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
        "tokenizer.model", "chat_template.jinja", "chat_template.json", "generation_config.json",
    ];

    const string Templates = "additional_chat_templates";

    /// <summary>Makes the folder; refuses one that already holds a model.</summary>
    public static void Create(string folder)
    {
        string weights = Path.Combine(folder, "model.safetensors");
        if (File.Exists(weights) || File.Exists(weights + ".index.json"))
        {
            throw new IOException($"{folder} already holds a model; remove it or name another folder.");
        }
        Directory.CreateDirectory(folder);
    }

    /// <summary>Copies the tokenizer's files that are there.</summary>
    public static void CopyTokenizer(string source, string folder)
    {
        foreach (string name in TokenizerFiles)
        {
            string from = Path.Combine(source, name), to = Path.Combine(folder, name);
            if (File.Exists(from) && Path.GetFullPath(from) != Path.GetFullPath(to))
            {
                File.Copy(from, to, overwrite: true);
            }
        }
        string more = Path.Combine(source, Templates);
        if (Directory.Exists(more) && Path.GetFullPath(source) != Path.GetFullPath(folder))
        {
            Directory.CreateDirectory(Path.Combine(folder, Templates));
            foreach (string file in Directory.EnumerateFiles(more, "*.jinja"))
            {
                File.Copy(file, Path.Combine(folder, Templates, Path.GetFileName(file)), overwrite: true);
            }
        }
    }

    /// <summary>
    /// Writes config.json: the source's fields, with another element type, or another sharing map, or both.
    /// A Llama becomes LCKV's architecture, which states the map as layer_types; the other families keep their name and get
    /// the same field, which KvCuda reads for all of them.
    /// </summary>
    /// <param name="source">config.json to start from</param>
    /// <param name="folder">where to write</param>
    /// <param name="config">the same config, read</param>
    /// <param name="type">element type, or null: as it is</param>
    /// <param name="map">the map in its notation; null: as it is; "": standard, with the architecture's own windows</param>
    /// <param name="window">the window of its 's' layers, or 0</param>
    public static void WriteConfig(
        string source, string folder, ModelConfig config, DType? type, string? map = null, int window = 0)
    {
        JsonObject json = JsonNode.Parse(File.ReadAllBytes(source))!.AsObject();
        if (type is DType stored)
        {
            json.Remove("dtype");
            json["torch_dtype"] = stored switch { DType.F32 => "float32", DType.F16 => "float16", _ => "bfloat16" };
        }
        if (map is not null)
        {
            json.Remove("use_cla");
            json.Remove("cla_share_factor");
            json.Remove("num_kv_shared_layers");
            // A list holds the architecture's own windows; only a notation is replaced by "as the architecture has it".
            if (map.Length > 0 || json["layer_types"] is JsonValue)
            {
                json.Remove("layer_types");
            }
            bool lckv = config.Family is ModelFamily.Llama or ModelFamily.LckvLlama;
            if (lckv)
            {
                json["architectures"] = new JsonArray(map.Length > 0 ? "LCKVLlamaForCausalLM" : "LlamaForCausalLM");
                json["model_type"] = map.Length > 0 ? "lckv-llama" : "llama";
            }
            if (map.Length > 0)
            {
                json["layer_types"] = map;
            }
            if (window > 0)
            {
                json[config.Family == ModelFamily.GptNeo ? "window_size" : "sliding_window"] = window;
            }
        }
        using FileStream file = File.Create(Path.Combine(folder, "config.json"));
        using var writer = new Utf8JsonWriter(file, new JsonWriterOptions { Indented = true });
        json.WriteTo(writer);
        writer.Flush();
        file.WriteByte((byte)'\n');
    }
}
