using System.Text;
using System.Text.Json;
using KvCuda.KvStore;
using KvCuda.Tensors;
using KvCuda.Weights;

namespace KvCuda.Cli;

/// <summary>The findings of `kvcuda inspect` as one JSON object.</summary>
internal static class InspectJson
{
    public static void Write(TextWriter output, ModelFindings found)
    {
        using var bytes = new MemoryStream();
        using (var json = new Utf8JsonWriter(bytes, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteString("model", found.Folder);
            json.WriteString("refused", found.Refusal?.Message);
            if (found.Config is ModelConfig config)
            {
                Shape(json, config);
                json.WriteNumber("parameters", found.Parameters);
            }
            if (found.Config is not null && found.Sharing is LayerSharing map)
            {
                Sharing(json, found, map);
            }
            if (found.Files is SafetensorsModel files)
            {
                json.WriteNumber("weight_bytes", files.Bytes);
                json.WriteStartArray("tensors");
                foreach (StoredTensor tensor in files.Tensors.Values.OrderBy(tensor => tensor.Name, StringComparer.Ordinal))
                {
                    json.WriteStartObject();
                    json.WriteString("name", tensor.Name);
                    json.WriteString("dtype", tensor.Type.Name);
                    json.WriteStartArray("shape");
                    for (int i = 0; i < tensor.Shape.Rank; i++)
                    {
                        json.WriteNumberValue(tensor.Shape[i]);
                    }
                    json.WriteEndArray();
                    json.WriteString("file", tensor.File);
                    json.WriteEndObject();
                }
                json.WriteEndArray();
            }
            json.WriteStartArray("tokenizer_files");
            foreach (string name in found.TokenizerFiles)
            {
                json.WriteStringValue(name);
            }
            json.WriteEndArray();
            InspectTokens.Write(json, found);
            json.WriteEndObject();
        }
        output.WriteLine(Encoding.UTF8.GetString(bytes.GetBuffer(), 0, (int)bytes.Length));
    }

    static void Shape(Utf8JsonWriter json, ModelConfig config)
    {
        json.WriteString("architecture", config.Architecture);
        json.WriteNumber("layers", config.Layers);
        json.WriteNumber("hidden_size", config.HiddenSize);
        json.WriteNumber("heads", config.Heads);
        json.WriteNumber("kv_heads", config.KvHeads);
        json.WriteNumber("head_dim", config.HeadDim);
        json.WriteNumber("mlp_size", config.MlpSize);
        json.WriteNumber("vocabulary", config.Vocabulary);
        json.WriteNumber("max_positions", config.MaxPositions);
        json.WriteString("rope", config.Rope?.Type);
        json.WriteString("dtype", config.Type?.Name());
        json.WriteBoolean("tied_head", config.TiedHead);
    }

    static void Sharing(Utf8JsonWriter json, ModelFindings found, LayerSharing map)
    {
        json.WriteStartObject("sharing");
        json.WriteString("map", map.ToString());
        json.WriteString("name", map.Name);
        json.WriteBoolean("experimental", found.IsOverride);
        json.WriteBoolean("force_nodiag", map.ForceStrictlyEarlier);
        json.WriteNumber("kv_layers", map.Owners.Count);
        json.WriteStartArray("iterated_blocks");
        foreach (LayerBlock block in map.IteratedBlocks)
        {
            json.WriteStartArray();
            json.WriteNumberValue(block.First);
            json.WriteNumberValue(block.Last);
            json.WriteEndArray();
        }
        json.WriteEndArray();
        json.WriteStartArray("owners");
        foreach (int owner in map.Owners)
        {
            json.WriteStartObject();
            json.WriteNumber("layer", owner);
            json.WriteNumber("window", map.OwnerWindow(owner));
            json.WriteStartArray("readers");
            foreach (int reader in map.Readers(owner))
            {
                json.WriteNumberValue(reader);
            }
            json.WriteEndArray();
            Bytes(json, "kv_bytes_per_token", found.NumbersOf(owner));
            json.WriteEndObject();
        }
        json.WriteEndArray();
        Bytes(json, "kv_bytes_per_token", map.Owners.Sum(found.NumbersOf));
        Bytes(json, "standard_kv_bytes_per_token", Enumerable.Range(0, map.Layers).Sum(found.NumbersOf));
        json.WriteEndObject();
    }

    static void Bytes(Utf8JsonWriter json, string name, long numbers)
    {
        json.WriteStartObject(name);
        foreach (DType type in (DType[])[DType.F32, DType.F16, DType.BF16])
        {
            json.WriteNumber(type.Name(), numbers * type.Bytes());
        }
        json.WriteEndObject();
    }
}
