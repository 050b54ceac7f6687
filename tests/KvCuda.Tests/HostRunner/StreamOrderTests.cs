namespace KvCuda.Tests.HostRunner;

/// <summary>
/// The host runner lets streams run apart as far as events let them: a page that goes down and comes up with every wait in its
/// place is right in every order, and with one wait missing it is wrong in one of them.
/// </summary>
public sealed unsafe class StreamOrderTests
{
    const int Bytes = 64;
    static readonly int[] orders = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

    [Fact]
    public void A_page_goes_down_and_comes_up_whole_in_every_order_of_the_streams() =>
        Assert.All(orders, order => Assert.Equal((1, 1), Play(order, missing: -1)));

    [Theory]
    [InlineData(0)]  // the copy down waits for what wrote the page
    [InlineData(1)]  // who writes the page's place waits for the copy down
    [InlineData(2)]  // the copy up waits for what used its place before
    [InlineData(3)]  // who reads the page waits for the copy up
    [InlineData(4)]  // the host waits before it looks
    public void A_missing_wait_shows_in_some_order(int missing) =>
        Assert.Contains(orders, order => Play(order, missing) != (1, 1));

    // Two streams as the backend has them: compute, and copies. Page x (all ones) goes down; x's place is written with twos;
    // x comes up into y's place, which held threes and was read before; then compute reads y. What the host and compute saw.
    static (byte Host, byte Read) Play(int order, int missing)
    {
        using RunnerSession session = new(plain: true);
        session.Option("deferred", order);
        var cuda = session.Cuda;
        nint compute, copies;
        cuda.Check(cuda.cuStreamCreate(&compute, 1));
        cuda.Check(cuda.cuStreamCreate(&copies, 1));
        nint x = session.Allocate(Bytes), y = session.Allocate(Bytes), seen = session.Allocate(Bytes), host;
        cuda.Check(cuda.cuMemHostAlloc(&host, 2 * Bytes, 0));
        new Span<byte>((void*)host, 2 * Bytes).Clear();

        cuda.Check(cuda.cuMemsetD8Async(x, 1, Bytes, compute));
        cuda.Check(cuda.cuMemsetD8Async(y, 3, Bytes, compute));
        Order(0, before: compute, after: copies);
        cuda.Check(cuda.cuMemcpyDtoHAsync((void*)host, x, Bytes, copies));
        Order(1, before: copies, after: compute);
        cuda.Check(cuda.cuMemsetD8Async(x, 2, Bytes, compute));

        cuda.Check(cuda.cuMemsetD8Async(y, 4, Bytes, compute)); // its last use before it is given away
        Order(2, before: compute, after: copies);
        cuda.Check(cuda.cuMemcpyHtoDAsync(y, (void*)host, Bytes, copies));
        Order(3, before: copies, after: compute);
        cuda.Check(cuda.cuMemcpyDtoDAsync(seen, y, Bytes, compute));
        cuda.Check(cuda.cuMemcpyDtoHAsync((void*)(host + Bytes), seen, Bytes, compute));
        if (missing != 4)
        {
            cuda.Check(cuda.cuStreamSynchronize(compute));
            cuda.Check(cuda.cuStreamSynchronize(copies));
        }
        (byte, byte) result = (*(byte*)host, *(byte*)(host + Bytes));
        foreach (nint stream in (nint[])[compute, copies])
        {
            cuda.Check(cuda.cuStreamDestroy(stream));
        }
        return result;

        void Order(int wait, nint before, nint after)
        {
            if (wait == missing)
            {
                return;
            }
            nint marker;
            cuda.Check(cuda.cuEventCreate(&marker, 2));
            cuda.Check(cuda.cuEventRecord(marker, before));
            cuda.Check(cuda.cuStreamWaitEvent(after, marker, 0));
        }
    }
}
