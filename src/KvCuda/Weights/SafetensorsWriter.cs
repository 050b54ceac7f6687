using System.Buffers.Binary;
using System.Text.Json;
using KvCuda.Tensors;
using Microsoft.Win32.SafeHandles;

namespace KvCuda.Weights;

/// <summary>
/// Writes a safetensors file whose tensors are known beforehand and whose numbers come in any order, from any thread.
/// The file appears under its name only when it is complete.
/// </summary>
sealed class SafetensorsWriter : IDisposable
{
    /// <summary>Numbers start at such a multiple, and so does each tensor whose predecessors' sizes allow it.</summary>
    const int Alignment = 64;

    readonly string path, partial;
    readonly Dictionary<string, (long Offset, long Bytes)> places = new(StringComparer.Ordinal);
    readonly SafeFileHandle file;
    bool finished;

    /// <param name="path">the file to make</param>
    /// <param name="tensors">name, type and shape; wide types are placed first, so that every tensor is aligned to its type</param>
    public SafetensorsWriter(string path, IEnumerable<(string Name, DType Type, Shape Shape)> tensors)
    {
        this.path = path;
        partial = path + ".partial";
        byte[] header = Layout(tensors, out long dataBytes);
        file = File.OpenHandle(partial, FileMode.Create, FileAccess.Write, FileShare.None, FileOptions.None, header.Length + dataBytes);
        RandomAccess.Write(file, header, 0);
        Length = header.Length + dataBytes;
        RandomAccess.SetLength(file, Length);
    }

    /// <summary>Bytes of the file.</summary>
    public long Length { get; }

    byte[] Layout(IEnumerable<(string Name, DType Type, Shape Shape)> tensors, out long dataBytes)
    {
        using var json = new MemoryStream();
        json.Write(new byte[8]);
        long end = 0;
        using (var writer = new Utf8JsonWriter(json))
        {
            writer.WriteStartObject();
            // transformers asks for this entry before it loads a file.
            writer.WriteStartObject("__metadata__");
            writer.WriteString("format", "pt");
            writer.WriteEndObject();
            foreach ((string name, DType type, Shape shape) in tensors.OrderByDescending(tensor => tensor.Type.Bytes()))
            {
                long bytes = checked(shape.Count * type.Bytes());
                places.Add(name, (end, bytes));
                writer.WriteStartObject(name);
                writer.WriteString("dtype", StoredType.NameOf(type));
                writer.WriteStartArray("shape");
                for (int i = 0; i < shape.Rank; i++)
                {
                    writer.WriteNumberValue(shape[i]);
                }
                writer.WriteEndArray();
                writer.WriteStartArray("data_offsets");
                writer.WriteNumberValue(end);
                writer.WriteNumberValue(end += bytes);
                writer.WriteEndArray();
                writer.WriteEndObject();
            }
            writer.WriteEndObject();
        }
        while (json.Length % Alignment != 0)
        {
            json.WriteByte((byte)' ');
        }
        byte[] header = json.ToArray();
        BinaryPrimitives.WriteInt64LittleEndian(header, header.Length - 8);
        foreach ((string name, (long offset, long bytes)) in places.ToArray())
        {
            places[name] = (header.Length + offset, bytes);
        }
        dataBytes = end;
        return header;
    }

    /// <summary>Writes a part of a tensor. Safe for concurrent use.</summary>
    /// <param name="name">the tensor</param>
    /// <param name="offset">bytes from its start</param>
    /// <param name="bytes">little-endian numbers of its type</param>
    public void Write(string name, long offset, ReadOnlySpan<byte> bytes)
    {
        (long start, long length) = places[name];
        if (offset < 0 || offset + bytes.Length > length)
        {
            throw new ArgumentOutOfRangeException(nameof(offset), $"{name} has {length} bytes; [{offset}, {offset + bytes.Length}) was written.");
        }
        RandomAccess.Write(file, bytes, start + offset);
    }

    /// <summary>Gives the file its name.</summary>
    public void Finish()
    {
        file.Dispose();
        File.Move(partial, path, overwrite: true);
        finished = true;
    }

    /// <summary>Without <see cref="Finish"/> nothing is left behind.</summary>
    public void Dispose()
    {
        file.Dispose();
        if (!finished)
        {
            File.Delete(partial);
        }
    }
}
