using System.Runtime.InteropServices;
using KvCuda.Tensors;

namespace KvCuda.Study;

/// <summary>
/// Numbers to compute with: small, around 0, the same every time. Never zeros: a device draws less power on them and
/// runs faster than it will on real data.
/// </summary>
internal static class RandomBytes
{
    /// <summary>So many numbers of a type.</summary>
    public static byte[] Of(DType type, int count)
    {
        var random = new Random(1);
        byte[] block = new byte[count * type.Bytes()];
        for (int i = 0; i < count; i++)
        {
            float value = (float)(random.NextDouble() - 0.5) / 8;
            switch (type)
            {
                case DType.F32: MemoryMarshal.Write(block.AsSpan(4 * i), value); break;
                case DType.F16: MemoryMarshal.Write(block.AsSpan(2 * i), (Half)value); break;
                default: MemoryMarshal.Write(block.AsSpan(2 * i), (ushort)(BitConverter.SingleToUInt32Bits(value) >> 16)); break;
            }
        }
        return block;
    }

    /// <summary>Fills a place by writing one block and copying what is there to behind it, each time twice as much.</summary>
    /// <param name="bytes">of the place</param>
    /// <param name="block">what it is filled with</param>
    /// <param name="write">writes bytes at the place's start</param>
    /// <param name="copy">copies within the place: destination, source, bytes</param>
    public static void Fill(long bytes, byte[] block, Action<byte[]> write, Action<long, long, long> copy)
    {
        long filled = Math.Min(bytes, block.Length);
        write(block[..(int)filled]);
        while (filled < bytes)
        {
            long more = Math.Min(filled, bytes - filled);
            copy(filled, 0, more);
            filled += more;
        }
    }
}
