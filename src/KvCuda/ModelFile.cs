// Reads whole files of a model folder, bounded by the length of the file that was opened.
namespace KvCuda;

/// <summary>
/// Reads a file of a model folder. The length is that of the opened handle: the hub's tools keep folders of symbolic links,
/// and the length of a link says nothing about its file.
/// </summary>
static class ModelFile
{
    /// <summary>All bytes of a file.</summary>
    /// <param name="path">the file, or a link to it</param>
    /// <param name="most">the most bytes it may have</param>
    /// <exception cref="ModelFormatException">It cannot be read, or is larger.</exception>
    public static byte[] ReadAllBytes(string path, long most)
    {
        try
        {
            using Microsoft.Win32.SafeHandles.SafeFileHandle file = File.OpenHandle(path);
            long length = RandomAccess.GetLength(file);
            if (length > most)
            {
                throw new ModelFormatException($"{path} has {length:N0} bytes; such a file may have at most {most:N0}.");
            }
            byte[] bytes = new byte[length];
            int done = 0;
            for (int read; done < bytes.Length && (read = RandomAccess.Read(file, bytes.AsSpan(done), done)) > 0;)
            {
                done += read;
            }
            return done == bytes.Length ? bytes : bytes[..done];
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or NotSupportedException or ArgumentException)
        {
            throw new ModelFormatException($"{path} cannot be read: {error.Message}", error);
        }
    }

    /// <summary>A text file: UTF-8, with or without a byte order mark.</summary>
    /// <inheritdoc cref="ReadAllBytes"/>
    public static string ReadAllText(string path, long most)
    {
        using var reader = new StreamReader(new MemoryStream(ReadAllBytes(path, most)));
        return reader.ReadToEnd();
    }
}
