using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using KvCuda.Backends.Cpu;
using KvCuda.Backends.Cpu.Amx;

namespace KvCuda.Study;

/// <summary>What this machine can do at best, measured with loops of our own in the same run: reading memory, and multiply-adds.</summary>
internal static unsafe class Yardsticks
{
    /// <summary>Bytes per second at which so many threads read so many bytes once, each its own consecutive part.</summary>
    public static double ReadBytesPerSecond(long bytes, int threads)
    {
        byte* memory = (byte*)NativeMemory.AlignedAlloc((nuint)bytes, 4096);
        try
        {
            nint address = (nint)memory;
            long part = bytes / threads / 4096 * 4096;
            OnThreads(threads, t => new Span<byte>((byte*)address + t * part, checked((int)part)).Fill(1));
            double seconds = OnThreads(threads, t => Read((byte*)address + t * part, part));
            seconds = Math.Min(seconds, OnThreads(threads, t => Read((byte*)address + t * part, part)));
            return part * threads / seconds;
        }
        finally
        {
            NativeMemory.AlignedFree(memory);
        }
    }

    /// <summary>Floating-point operations per second of multiply-adds that touch no memory.</summary>
    public static double FlopsPerSecond(int threads)
    {
        const int rounds = 3_000_000;
        OnThreads(threads, _ => MultiplyAdd(1000));
        double seconds = OnThreads(threads, _ => MultiplyAdd(rounds));
        return 2.0 * Accumulators * Lanes * rounds * threads / seconds;
    }

    /// <summary>The same of bf16 numbers on AMX tiles that lie in the L1 cache; 0 where there are none.</summary>
    public static double TileFlopsPerSecond(int threads)
    {
        if (!InstructionSet.Amx.IsAvailable())
        {
            return 0;
        }
        const int rounds = 40_000;
        OnThreads(threads, _ => MultiplyTiles(1000));
        double seconds = OnThreads(threads, _ => MultiplyTiles(rounds));
        return 2.0 * TileSteps * 4 * 16 * 16 * 32 * rounds * threads / seconds;
    }

    const int TileSteps = 8; // of two tiles of 1 KB on either side

    static void MultiplyTiles(int rounds)
    {
        byte* memory = (byte*)NativeMemory.AlignedAlloc(2 * TileSteps * 2048 + 4096, 4096);
        new Span<byte>(memory, 2 * TileSteps * 2048 + 4096).Clear();
        TileShapes shapes = default;
        for (int tile = 0; tile < 8; tile++)
        {
            shapes.Set(tile, 16, 64);
        }
        Tiles.Code.Shape(ref shapes);
        for (int round = 0; round < rounds; round++)
        {
            TileCall call = new()
            {
                A0 = memory, A1 = memory + 1024, AStride = 64, AStep = 2048, B = memory + TileSteps * 2048, BStride = 64, BStep = 2048,
                C = (float*)(memory + 2 * TileSteps * 2048), Steps = TileSteps,
            };
            Tiles.Code.Multiply(ref call, 2);
        }
        Tiles.Code.Release();
        NativeMemory.AlignedFree(memory);
    }

    const int Accumulators = 12;

    static int Lanes => Vector512.IsHardwareAccelerated ? 16 : 8;

    static double sink;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Read(byte* from, long bytes)
    {
        byte* end = from + bytes;
        Vector512<int> a = default, b = default, c = default, d = default;
        for (; from < end; from += 256)
        {
            a += Vector512.Load((int*)from);
            b += Vector512.Load((int*)(from + 64));
            c += Vector512.Load((int*)(from + 128));
            d += Vector512.Load((int*)(from + 192));
        }
        sink += Vector512.Sum(a + b + c + d);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void MultiplyAdd(int rounds)
    {
        if (Vector512.IsHardwareAccelerated)
        {
            Vector512<float> x = Vector512.Create(0.999f), y = Vector512.Create(0.001f);
            Vector512<float> a = x, b = x, c = x, d = x, e = x, f = x, g = x, h = x, i = x, j = x, k = x, l = x;
            for (int n = 0; n < rounds; n++)
            {
                a = Vector512.FusedMultiplyAdd(a, x, y); b = Vector512.FusedMultiplyAdd(b, x, y); c = Vector512.FusedMultiplyAdd(c, x, y);
                d = Vector512.FusedMultiplyAdd(d, x, y); e = Vector512.FusedMultiplyAdd(e, x, y); f = Vector512.FusedMultiplyAdd(f, x, y);
                g = Vector512.FusedMultiplyAdd(g, x, y); h = Vector512.FusedMultiplyAdd(h, x, y); i = Vector512.FusedMultiplyAdd(i, x, y);
                j = Vector512.FusedMultiplyAdd(j, x, y); k = Vector512.FusedMultiplyAdd(k, x, y); l = Vector512.FusedMultiplyAdd(l, x, y);
            }
            sink += Vector512.Sum(a + b + c + d + e + f + g + h + i + j + k + l);
        }
        else
        {
            Vector256<float> x = Vector256.Create(0.999f), y = Vector256.Create(0.001f);
            Vector256<float> a = x, b = x, c = x, d = x, e = x, f = x, g = x, h = x, i = x, j = x, k = x, l = x;
            for (int n = 0; n < rounds; n++)
            {
                a = Vector256.FusedMultiplyAdd(a, x, y); b = Vector256.FusedMultiplyAdd(b, x, y); c = Vector256.FusedMultiplyAdd(c, x, y);
                d = Vector256.FusedMultiplyAdd(d, x, y); e = Vector256.FusedMultiplyAdd(e, x, y); f = Vector256.FusedMultiplyAdd(f, x, y);
                g = Vector256.FusedMultiplyAdd(g, x, y); h = Vector256.FusedMultiplyAdd(h, x, y); i = Vector256.FusedMultiplyAdd(i, x, y);
                j = Vector256.FusedMultiplyAdd(j, x, y); k = Vector256.FusedMultiplyAdd(k, x, y); l = Vector256.FusedMultiplyAdd(l, x, y);
            }
            sink += Vector256.Sum(a + b + c + d + e + f + g + h + i + j + k + l);
        }
    }

    // Seconds from the moment the first thread begins to the moment the last has finished; by their own clocks, because whoever waits for them
    // may get its core back late.
    static double OnThreads(int threads, Action<int> work)
    {
        using var barrier = new Barrier(threads);
        long[] starts = new long[threads], ends = new long[threads];
        Thread[] all = [.. Enumerable.Range(0, threads).Select(t => new Thread(() =>
        {
            barrier.SignalAndWait();
            starts[t] = Stopwatch.GetTimestamp();
            work(t);
            ends[t] = Stopwatch.GetTimestamp();
        }))];
        foreach (Thread thread in all)
        {
            thread.Start();
        }
        foreach (Thread thread in all)
        {
            thread.Join();
        }
        return Stopwatch.GetElapsedTime(starts.Min(), ends.Max()).TotalSeconds;
    }
}
