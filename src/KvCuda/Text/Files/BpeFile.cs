using System.Text.Json;
using KvCuda.Text.Bpe;

namespace KvCuda.Text.Files;

/// <summary>The "model" of a tokenizer file: vocabulary, merges, switches.</summary>
sealed class BpeFile
{
    public Vocabulary Vocabulary { get; } = new();

    public MergeTable Merges { get; private set; } = new(0);

    public BpeOptions Options { get; private set; }

    /// <summary>Reads the object at which <paramref name="reader"/> stands.</summary>
    public static BpeFile Read(ref Utf8JsonReader reader, string path)
    {
        if (reader.TokenType != JsonTokenType.StartObject)
        {
            throw new ModelFormatException($"{path}: model is not an object.");
        }

        var file = new BpeFile();
        string? type = null, unknown = null;
        bool ignoreMerges = false, fuse = false, fallback = false, hasVocabulary = false, hasMerges = false;
        Utf8JsonReader merges = default;
        while (TokenizerFile.Read(ref reader) == JsonTokenType.PropertyName)
        {
            string name = reader.GetString()!;
            TokenizerFile.Read(ref reader);
            switch (name)
            {
                case "type":
                    type = reader.GetString();
                    break;
                case "vocab":
                    file.ReadVocabulary(ref reader, path);
                    hasVocabulary = true;
                    break;
                case "merges":
                    hasMerges = true;
                    merges = reader; // read once the vocabulary is there, whichever comes first
                    reader.Skip();
                    break;
                case "unk_token":
                    unknown = reader.GetString();
                    break;
                case "ignore_merges":
                    ignoreMerges = reader.TokenType != JsonTokenType.Null && reader.GetBoolean();
                    break;
                case "fuse_unk":
                    fuse = reader.TokenType != JsonTokenType.Null && reader.GetBoolean();
                    break;
                case "byte_fallback":
                    fallback = reader.TokenType != JsonTokenType.Null && reader.GetBoolean();
                    break;
                case "dropout" when reader.TokenType != JsonTokenType.Null && reader.GetDouble() != 0:
                    throw new UnsupportedModelException($"{path}: model.dropout is for training; set it to null.");
                case "continuing_subword_prefix" or "end_of_word_suffix"
                    when reader.TokenType != JsonTokenType.Null && reader.GetString() != "":
                    throw new UnsupportedModelException($"{path}: model.{name} \"{reader.GetString()}\" is not supported.");
                default:
                    reader.Skip();
                    break;
            }
        }

        // Files older than the field are BPE where they have merges.
        if (type != "BPE" && !(type is null && hasMerges))
        {
            throw new UnsupportedModelException($"{path}: the model is \"{type ?? "unnamed"}\"; KvCuda reads BPE.");
        }

        if (!hasVocabulary || !hasMerges)
        {
            throw new ModelFormatException($"{path}: the BPE model has no {(hasVocabulary ? "merges" : "vocab")}.");
        }

        file.Vocabulary.Freeze();
        file.ReadMerges(ref merges, path);
        file.Options = new BpeOptions(ignoreMerges, fuse, fallback, unknown);
        return file;
    }

    void ReadVocabulary(ref Utf8JsonReader reader, string path)
    {
        if (reader.TokenType != JsonTokenType.StartObject)
        {
            throw new ModelFormatException($"{path}: vocab is not an object.");
        }

        byte[] scratch = [];
        while (TokenizerFile.Read(ref reader) == JsonTokenType.PropertyName)
        {
            ReadOnlySpan<byte> token = Unescaped(ref reader, ref scratch);
            TokenizerFile.Read(ref reader);
            if (!reader.TryGetInt32(out int id) || id < 0 || id >= Vocabulary.MaxId)
            {
                throw new ModelFormatException(
                    $"{path}: a token of vocab has an id that is not a number from 0 to {Vocabulary.MaxId - 1}.");
            }

            Vocabulary.Add(token, id);
        }
    }

    void ReadMerges(ref Utf8JsonReader reader, string path)
    {
        if (reader.TokenType != JsonTokenType.StartArray)
        {
            throw new ModelFormatException($"{path}: merges is not a list.");
        }

        // Counted first, so that the table is made once and to measure.
        int count = 0;
        Utf8JsonReader counter = reader;
        while (TokenizerFile.Read(ref counter) != JsonTokenType.EndArray)
        {
            counter.Skip();
            count++;
        }

        Merges = new MergeTable(count);
        byte[] scratch = [], leftScratch = [], joined = new byte[256];
        int rank = 0;
        while (TokenizerFile.Read(ref reader) != JsonTokenType.EndArray)
        {
            ReadOnlySpan<byte> left, right;
            if (reader.TokenType == JsonTokenType.StartArray)
            {
                TokenizerFile.Read(ref reader);
                left = Unescaped(ref reader, ref leftScratch);
                TokenizerFile.Read(ref reader);
                right = Unescaped(ref reader, ref scratch);
                TokenizerFile.Expect(ref reader, JsonTokenType.EndArray, path, $"the end of merge {rank}");
            }
            else
            {
                ReadOnlySpan<byte> pair = Unescaped(ref reader, ref scratch);
                if (pair.StartsWith("#version"u8))
                {
                    continue;
                }

                int space = pair.IndexOf((byte)' ');
                if (space < 0 || pair[(space + 1)..].Contains((byte)' '))
                {
                    throw new ModelFormatException($"{path}: merge {rank} is not two tokens with a space between them.");
                }

                left = pair[..space];
                right = pair[(space + 1)..];
            }

            if (joined.Length < left.Length + right.Length)
            {
                joined = new byte[(left.Length + right.Length) * 2];
            }

            left.CopyTo(joined);
            right.CopyTo(joined.AsSpan(left.Length));
            if (!Vocabulary.TryGetId(left, out int leftId) || !Vocabulary.TryGetId(right, out int rightId)
                || !Vocabulary.TryGetId(joined.AsSpan(0, left.Length + right.Length), out int merged))
            {
                throw new ModelFormatException(
                    $"{path}: merge {rank} joins or makes a token that is not in vocab: "
                    + $"\"{System.Text.Encoding.UTF8.GetString(left)}\" \"{System.Text.Encoding.UTF8.GetString(right)}\".");
            }

            Merges.Set(leftId, rightId, rank++, merged);
        }
    }

    static ReadOnlySpan<byte> Unescaped(scoped ref Utf8JsonReader reader, scoped ref byte[] scratch)
    {
        if (reader.TokenType is not (JsonTokenType.String or JsonTokenType.PropertyName))
        {
            throw new JsonException($"a {reader.TokenType} where a string is expected");
        }

        if (!reader.ValueIsEscaped)
        {
            return reader.ValueSpan;
        }

        if (scratch.Length < reader.ValueSpan.Length)
        {
            scratch = new byte[reader.ValueSpan.Length * 2];
        }

        return scratch.AsSpan(0, reader.CopyString(scratch));
    }
}
