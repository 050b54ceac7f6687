using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;
using KvCuda.Text.Bpe;

namespace KvCuda.Text.Files;

/// <summary>The "model" of a tokenizer file: vocabulary, merges, switches.</summary>
sealed class BpeFile
{
    public Vocabulary Vocabulary { get; } = new();

    public MergeTable Merges { get; private set; } = new(0);

    public BpeOptions Options { get; private set; }

    /// <summary>Reads the object at which <paramref name="cursor"/> stands.</summary>
    public static BpeFile Read(ref JsonCursor cursor, string path)
    {
        var file = new BpeFile();
        string? type = null, unknown = null;
        bool ignoreMerges = false, fuse = false, fallback = false, hasVocabulary = false, hasMerges = false;
        ReadOnlySpan<byte> waiting = default;
        byte[] scratch = [];
        cursor.Take('{');
        for (bool first = true; cursor.Next(ref first, '}');)
        {
            string name = Encoding.UTF8.GetString(cursor.String(ref scratch));
            cursor.Take(':');
            switch (name)
            {
                case "type":
                    type = cursor.Element().GetString();
                    break;
                case "vocab" when type is "BPE" or null && cursor.Peek() == '{':
                    file.ReadVocabulary(ref cursor, path);
                    hasVocabulary = true;
                    break;
                case "merges":
                    hasMerges = true;
                    if (hasVocabulary)
                    {
                        file.ReadMerges(ref cursor, path);
                    }
                    else
                    {
                        waiting = cursor.Value(); // merges are made of ids: they wait for the vocabulary
                    }

                    break;
                case "unk_token":
                    unknown = cursor.Element().GetString();
                    break;
                case "ignore_merges":
                    ignoreMerges = Flag(cursor.Element());
                    break;
                case "fuse_unk":
                    fuse = Flag(cursor.Element());
                    break;
                case "byte_fallback":
                    fallback = Flag(cursor.Element());
                    break;
                case "dropout":
                    if (cursor.Element() is { ValueKind: not JsonValueKind.Null } dropout && dropout.GetDouble() != 0)
                    {
                        throw new UnsupportedModelException($"{path}: model.dropout is for training; set it to null.");
                    }

                    break;
                case "continuing_subword_prefix" or "end_of_word_suffix":
                    string? affix = cursor.Element().GetString();
                    if (!string.IsNullOrEmpty(affix))
                    {
                        throw new UnsupportedModelException($"{path}: model.{name} \"{affix}\" is not supported.");
                    }

                    break;
                default:
                    cursor.Value();
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
        if (!waiting.IsEmpty)
        {
            var later = new JsonCursor(waiting);
            file.ReadMerges(ref later, path);
        }

        file.Options = new BpeOptions(ignoreMerges, fuse, fallback, unknown);
        return file;

        static bool Flag(JsonElement value) => value.ValueKind != JsonValueKind.Null && value.GetBoolean();
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    void ReadVocabulary(ref JsonCursor cursor, string path)
    {
        byte[] scratch = [];
        cursor.Take('{');
        for (bool first = true; cursor.Next(ref first, '}');)
        {
            ReadOnlySpan<byte> token = cursor.String(ref scratch);
            cursor.Take(':');
            int id = cursor.Number();
            if ((uint)id >= Vocabulary.MaxId)
            {
                throw new ModelFormatException(
                    $"{path}: a token of vocab has an id that is not a number from 0 to {Vocabulary.MaxId - 1}.");
            }

            Vocabulary.Add(token, id);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    void ReadMerges(ref JsonCursor cursor, string path)
    {
        var list = new List<(int Left, int Right, int Merged)>(Vocabulary.Count);
        byte[] scratch = [], leftScratch = [], joined = new byte[256];
        int guess = 0;
        cursor.Take('[');
        for (bool first = true; cursor.Next(ref first, ']');)
        {
            ReadOnlySpan<byte> left, right;
            if (cursor.TryTake('['))
            {
                left = cursor.String(ref leftScratch);
                cursor.Take(',');
                right = cursor.String(ref scratch);
                cursor.Take(']');
            }
            else
            {
                ReadOnlySpan<byte> pair = cursor.String(ref scratch);
                if (pair.StartsWith("#version"u8))
                {
                    continue;
                }

                int space = pair.IndexOf((byte)' ');
                if (space < 0 || pair[(space + 1)..].Contains((byte)' '))
                {
                    throw new ModelFormatException($"{path}: merge {list.Count} is not two tokens with a space between them.");
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
                || !Vocabulary.TryGetId(joined.AsSpan(0, left.Length + right.Length), ref guess, out int merged))
            {
                throw new ModelFormatException(
                    $"{path}: merge {list.Count} joins or makes a token that is not in vocab: "
                    + $"\"{Encoding.UTF8.GetString(left)}\" \"{Encoding.UTF8.GetString(right)}\".");
            }

            list.Add((leftId, rightId, merged));
        }

        Merges = new MergeTable(list.Count);
        for (int rank = 0; rank < list.Count; rank++)
        {
            Merges.Set(list[rank].Left, list[rank].Right, rank, list[rank].Merged);
        }
    }
}
