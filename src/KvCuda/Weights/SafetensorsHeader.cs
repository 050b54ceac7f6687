using System.Buffers.Binary;
using System.Text;
using System.Text.Json;
using KvCuda.Tensors;

namespace KvCuda.Weights;

/// <summary>One tensor of a safetensors header. <paramref name="Offset"/> counts from the file's start.</summary>
readonly record struct HeaderEntry(string Name, StoredType Type, Shape Shape, long Offset, long Bytes);

/// <summary>
/// Reads the header of a safetensors file: eight bytes (little-endian) with the length of a JSON object, the object, then
/// the numbers. The object names each tensor's dtype, shape and [begin, end) within the numbers, which it must
/// cover without overlaps or holes (huggingface/safetensors, README "Format"). Pure: bytes in, entries out.
/// </summary>
static class SafetensorsHeader
{
    /// <summary>The limit of the reference implementation.</summary>
    public const int MaxBytes = 100_000_000;

    const int MaxRank = 8;

    /// <param name="file">name for messages</param>
    /// <param name="start">the file's first bytes: at least 8 + the header's length where the file has so many</param>
    /// <param name="fileBytes">length of the whole file</param>
    /// <exception cref="ModelFormatException">The file is not a safetensors file, or its parts contradict each other.</exception>
    public static List<HeaderEntry> Parse(string file, ReadOnlySpan<byte> start, long fileBytes)
    {
        if (fileBytes < 8 || start.Length < 8)
        {
            throw Bad(file, $"it has {fileBytes} bytes; the header's length alone takes 8");
        }
        ulong length = BinaryPrimitives.ReadUInt64LittleEndian(start);
        if (length > MaxBytes)
        {
            throw Bad(file, $"its first 8 bytes state a header of {length} bytes; the format's limit is {MaxBytes}");
        }
        long dataStart = 8 + (long)length;
        if (dataStart > fileBytes || (long)length > start.Length - 8)
        {
            throw Bad(file, $"its header should have {length} bytes, but the file ends after {fileBytes}");
        }
        List<HeaderEntry> entries;
        try
        {
            entries = ReadEntries(file, start.Slice(8, (int)length), dataStart);
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException or FormatException)
        {
            // InvalidOperationException: a JSON string that is not UTF-8.
            throw Bad(file, $"its header is not the JSON it should be ({Printable(error.Message, 300).TrimEnd('.')})", error);
        }
        CheckCoverage(file, entries, dataStart, fileBytes);
        return entries;
    }

    static List<HeaderEntry> ReadEntries(string file, ReadOnlySpan<byte> json, long dataStart)
    {
        var entries = new List<HeaderEntry>();
        var names = new HashSet<string>(StringComparer.Ordinal);
        var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = 4 });
        Next(ref reader, JsonTokenType.StartObject);
        while (Next(ref reader, JsonTokenType.PropertyName, JsonTokenType.EndObject) == JsonTokenType.PropertyName)
        {
            string name = reader.GetString()!;
            if (!names.Add(name))
            {
                throw Bad(file, $"the tensor '{Printable(name)}' is there twice");
            }
            if (name == "__metadata__")
            {
                reader.Read();
                reader.Skip();
                continue;
            }
            entries.Add(ReadEntry(file, name, ref reader, dataStart));
        }
        // Spaces after the object are padding; anything else makes the reader throw.
        if (reader.Read())
        {
            throw new JsonException("more than one value");
        }
        return entries;
    }

    static HeaderEntry ReadEntry(string file, string name, ref Utf8JsonReader reader, long dataStart)
    {
        string? dtype = null;
        long[]? shape = null, offsets = null;
        Next(ref reader, JsonTokenType.StartObject);
        while (Next(ref reader, JsonTokenType.PropertyName, JsonTokenType.EndObject) == JsonTokenType.PropertyName)
        {
            string field = reader.GetString()!;
            bool again = false;
            switch (field)
            {
                case "dtype":
                    again = dtype is not null;
                    Next(ref reader, JsonTokenType.String);
                    dtype = reader.GetString();
                    break;
                case "shape":
                    again = shape is not null;
                    shape = ReadNumbers(ref reader);
                    break;
                case "data_offsets":
                    again = offsets is not null;
                    offsets = ReadNumbers(ref reader);
                    break;
                default:
                    // The Rust reader, which defines the format, steps over it.
                    reader.Read();
                    reader.Skip();
                    break;
            }
            if (again)
            {
                throw Bad(file, $"the tensor '{Printable(name)}' states its {field} twice");
            }
        }
        if (dtype is null || shape is null || offsets is not { Length: 2 })
        {
            throw Bad(file, $"the tensor '{Printable(name)}' needs a dtype, a shape and two data_offsets");
        }
        if (!StoredType.TryParse(dtype, out StoredType type))
        {
            throw Bad(file, $"the tensor '{Printable(name)}' has the dtype '{Printable(dtype)}', which the format does not know");
        }
        var entry = new Shape(shape);
        long bits;
        try
        {
            // A zero dimension makes the product 0, whatever overflows beside it.
            bits = shape.Contains(0) ? 0 : checked(entry.Count * type.Bits);
        }
        catch (OverflowException error)
        {
            throw Bad(file, $"the tensor '{Printable(name)}' of shape {entry} is larger than any file", error);
        }
        long bytes = offsets[1] - offsets[0];
        if (bytes < 0 || bits % 8 != 0 || bytes != bits / 8 || offsets[0] > long.MaxValue - dataStart - bytes)
        {
            throw Bad(file, $"the tensor '{Printable(name)}' {entry} {type.Name} should have {bits / 8} bytes, "
                + $"but lies at [{offsets[0]}, {offsets[1]})");
        }
        return new(name, type, entry, dataStart + offsets[0], bytes);
    }

    static long[] ReadNumbers(ref Utf8JsonReader reader)
    {
        var numbers = new List<long>(4);
        Next(ref reader, JsonTokenType.StartArray);
        while (Next(ref reader, JsonTokenType.Number, JsonTokenType.EndArray) == JsonTokenType.Number)
        {
            if (!reader.TryGetInt64(out long number) || number < 0 || numbers.Count == MaxRank)
            {
                throw new JsonException($"a list of at most {MaxRank} whole numbers from 0 was expected");
            }
            numbers.Add(number);
        }
        return [.. numbers];
    }

    static void CheckCoverage(string file, List<HeaderEntry> entries, long dataStart, long fileBytes)
    {
        long end = dataStart;
        string before = "the header";
        foreach (HeaderEntry entry in entries.OrderBy(entry => entry.Offset).ThenBy(entry => entry.Bytes))
        {
            if (entry.Offset + entry.Bytes > fileBytes)
            {
                throw Bad(file, $"the tensor '{Printable(entry.Name)}' ends at byte {entry.Offset + entry.Bytes}, "
                    + $"but the file has only {fileBytes}; was the download interrupted?");
            }
            if (entry.Offset != end)
            {
                throw Bad(file, entry.Offset < end
                    ? $"the tensors {before} and '{Printable(entry.Name)}' overlap"
                    : $"{entry.Offset - end} bytes between {before} and the tensor '{Printable(entry.Name)}' belong to no tensor");
            }
            end = entry.Offset + entry.Bytes;
            before = $"'{Printable(entry.Name)}'";
        }
        if (end != fileBytes)
        {
            throw Bad(file, $"{fileBytes - end} bytes after {before} belong to no tensor");
        }
    }

    static JsonTokenType Next(ref Utf8JsonReader reader, JsonTokenType one, JsonTokenType? other = null)
    {
        if (!reader.Read())
        {
            throw new JsonException("it ends too early");
        }
        JsonTokenType type = reader.TokenType;
        return type == one || type == other
            ? type
            : throw new JsonException($"a {one} was expected at byte {reader.TokenStartIndex}, not a {type}");
    }

    /// <summary>Text from a file, short and without control characters.</summary>
    public static string Printable(string text, int limit = 120)
    {
        var clean = new StringBuilder();
        foreach (char c in text.Length <= limit ? text : text[..limit] + "...")
        {
            clean.Append(char.IsControl(c) || char.IsSurrogate(c) ? '?' : c);
        }
        return clean.ToString();
    }

    static ModelFormatException Bad(string file, string reason, Exception? inner = null) =>
        new($"{file} is not a usable safetensors file: {reason}.", inner);
}
