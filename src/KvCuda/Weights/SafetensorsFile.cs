using System.IO.MemoryMappedFiles;
using System.Runtime.InteropServices;
using KvCuda.Tensors;

namespace KvCuda.Weights;

/// <summary>A tensor of an open file: where its numbers lie in memory. Dies with its file.</summary>
/// <param name="Name">as in the file</param>
/// <param name="Type">element type</param>
/// <param name="Shape">dimensions, outermost first</param>
/// <param name="Address">first byte; aligned to the element size for F32, F16 and BF16</param>
/// <param name="Bytes">length</param>
/// <param name="File">the file's name, for messages</param>
sealed record StoredTensor(string Name, StoredType Type, Shape Shape, nint Address, long Bytes, string File)
{
    /// <summary>The stored bytes, where they fit a span.</summary>
    public unsafe ReadOnlySpan<byte> Span => new((void*)Address, checked((int)Bytes));

    public override string ToString() => $"{Name} {Shape} {Type.Name}";
}

/// <summary>
/// One safetensors file, memory mapped: tensors are read in place. The format promises no alignment to old files, so that
/// a weight at an odd address is copied once (only then).
/// </summary>
sealed unsafe class SafetensorsFile : IDisposable
{
    readonly MemoryMappedFile map;
    readonly MemoryMappedViewAccessor view;
    readonly Dictionary<string, StoredTensor> tensors = new(StringComparer.Ordinal);
    readonly List<nint> copies = [];
    readonly nint start;
    bool pinned;

    SafetensorsFile(string path, MemoryMappedFile map, long length)
    {
        Path = path;
        Length = length;
        this.map = map;
        view = map.CreateViewAccessor(0, length, MemoryMappedFileAccess.Read);
        try
        {
            byte* start = null;
            view.SafeMemoryMappedViewHandle.AcquirePointer(ref start);
            pinned = true;
            start += view.PointerOffset;
            this.start = (nint)start;
            string name = System.IO.Path.GetFileName(path);
            int prefix = (int)Math.Min(length, SafetensorsHeader.MaxBytes + 8L);
            foreach (HeaderEntry entry in SafetensorsHeader.Parse(name, new(start, prefix), length))
            {
                nint address = Align((nint)(start + entry.Offset), entry);
                tensors.Add(entry.Name, new(entry.Name, entry.Type, entry.Shape, address, entry.Bytes, name));
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Where the file is.</summary>
    public string Path { get; }

    /// <summary>Bytes of the file.</summary>
    public long Length { get; }

    /// <summary>All tensors, by name.</summary>
    public IReadOnlyDictionary<string, StoredTensor> Tensors => tensors;

    /// <summary>Maps a file and checks its header.</summary>
    /// <exception cref="ModelFormatException">It cannot be opened, or is malformed.</exception>
    public static SafetensorsFile Open(string path)
    {
        try
        {
            Microsoft.Win32.SafeHandles.SafeFileHandle handle = File.OpenHandle(path);
            long length;
            MemoryMappedFile map;
            try
            {
                // Of the opened file, not of the path, which may be a link (the hub's tools keep folders of links).
                length = RandomAccess.GetLength(handle);
                if (length == 0)
                {
                    throw new ModelFormatException($"{path} is empty.");
                }
                map = MemoryMappedFile.CreateFromFile(
                    handle, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: false);
            }
            catch
            {
                handle.Dispose();
                throw;
            }
            try
            {
                return new(path, map, length);
            }
            catch
            {
                map.Dispose();
                throw;
            }
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new ModelFormatException($"{path} cannot be read: {error.Message}", error);
        }
    }

    nint Align(nint address, in HeaderEntry entry)
    {
        if (entry.Type.Type is not DType type || entry.Bytes == 0 || address % type.Bytes() == 0)
        {
            return address;
        }
        void* copy = NativeMemory.AlignedAlloc((nuint)entry.Bytes, 64);
        copies.Add((nint)copy);
        Buffer.MemoryCopy((void*)address, copy, entry.Bytes, entry.Bytes);
        return (nint)copy;
    }

    /// <summary>Lets the memory of a part go; it is read from the file again when it is next looked at. Copies stay.</summary>
    public void LetGo(nint address, long bytes)
    {
        if (address >= start && address + bytes <= start + Length)
        {
            MappedPages.LetGo(address, bytes);
        }
    }

    /// <summary>Unmaps the file: every address from it is dead.</summary>
    public void Dispose()
    {
        foreach (nint copy in copies)
        {
            NativeMemory.AlignedFree((void*)copy);
        }
        copies.Clear();
        tensors.Clear();
        if (pinned)
        {
            view.SafeMemoryMappedViewHandle.ReleasePointer();
            pinned = false;
        }
        view.Dispose();
        map.Dispose();
    }
}
