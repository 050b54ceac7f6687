using KvCuda.Interop;

namespace KvCuda.Tests.HostRunner;

/// <summary>The host runner as a driver: what a GPU's driver would do with handles, captures and failures.</summary>
public sealed unsafe class DriverTests
{
    const int InvalidValue = 1, InvalidHandle = 400, IllegalAddress = 700, CooperativeTooLarge = 720, CaptureUnsupported = 900, CaptureInvalidated = 901;

    const string Add = """
        #include "shared/types.cuh"
        struct AddArgs { i32* p; i32 what; i32 unused; };
        extern "C" __global__ void add(const __grid_constant__ AddArgs args) { args.p[blockIdx.x * blockDim.x + threadIdx.x] += args.what; }
        SIMT_KERNEL(add);
        """;

    static nint Compile(RunnerSession session) => session.Compile(Add, "tests/add.cu", "add");

    static byte[] Arguments(nint p, int what) => new ArgumentBytes().Add((long)p).Add(what).Add(0).ToArray();

    static nint Stream(RunnerSession session)
    {
        nint stream;
        session.Cuda.Check(session.Cuda.cuStreamCreate(&stream, 1));
        return stream;
    }

    [Fact]
    public void A_captured_graph_runs_later_with_the_arguments_it_was_captured_with()
    {
        using var session = new RunnerSession();
        CudaDriver cuda = session.Cuda;
        nint add = Compile(session), p = session.Upload<int>([0, 0, 0, 0]), stream = Stream(session), graph, runnable;
        byte[] arguments = Arguments(p, 5);
        cuda.Check(cuda.cuStreamBeginCapture(stream, 1));
        Assert.Equal(0, session.Launch(add, 1, 4, 0, arguments, stream: stream));
        arguments.AsSpan().Fill(0xEE); // the caller's copy is his own again
        cuda.Check(cuda.cuStreamEndCapture(stream, &graph));
        Assert.Equal([0, 0, 0, 0], session.Download<int>(p, 4));
        cuda.Check(cuda.cuGraphInstantiateWithFlags(&runnable, graph, 0));
        cuda.Check(cuda.cuGraphDestroy(graph));
        cuda.Check(cuda.cuGraphLaunch(runnable, stream));
        cuda.Check(cuda.cuGraphLaunch(runnable, stream));
        Assert.Equal([10, 10, 10, 10], session.Download<int>(p, 4));
        cuda.Check(cuda.cuGraphExecDestroy(runnable));
        Assert.Equal(InvalidHandle, cuda.cuGraphLaunch(runnable, stream));
    }

    [Fact]
    public void Waiting_for_a_stream_that_is_captured_spoils_the_capture()
    {
        using var session = new RunnerSession();
        CudaDriver cuda = session.Cuda;
        nint stream = Stream(session), graph;
        cuda.Check(cuda.cuStreamBeginCapture(stream, 1));
        Assert.Equal(CaptureUnsupported, cuda.cuStreamBeginCapture(stream, 1));
        Assert.Equal(CaptureUnsupported, cuda.cuStreamSynchronize(stream));
        Assert.Equal(CaptureInvalidated, cuda.cuStreamEndCapture(stream, &graph));
        Assert.Equal(0, cuda.cuStreamSynchronize(stream));
        Assert.Equal(InvalidValue, cuda.cuStreamEndCapture(stream, &graph));
    }

    [Fact]
    public void After_a_fault_every_call_returns_it_and_says_what_the_first_was()
    {
        using var session = new RunnerSession();
        nint add = Compile(session), p = session.Upload<int>([0, 0, 0]);
        Assert.Equal(IllegalAddress, session.Launch(add, 1, 4, 0, Arguments(p, 1)));
        Assert.Contains("thread (3,0,0)", session.LastError, StringComparison.Ordinal);
        nint more;
        Assert.Equal(IllegalAddress, session.Cuda.cuMemAlloc(&more, 4));
        Assert.Contains("unusable since an earlier error: add: block (0,0,0) thread (3,0,0)", session.LastError, StringComparison.Ordinal);
        Assert.Equal(IllegalAddress, session.Cuda.cuStreamSynchronize(0));

        using var another = new RunnerSession(); // a context of its own is not touched
        Assert.Equal(0, another.Launch(Compile(another), 1, 3, 0, Arguments(another.Upload<int>([0, 0, 0]), 1)));
    }

    [Fact]
    public void A_launch_that_no_device_could_take_is_refused_and_breaks_nothing()
    {
        using var session = new RunnerSession();
        nint add = Compile(session), p = session.Upload<int>([1]);
        byte[] arguments = Arguments(p, 1);
        Assert.Equal(InvalidValue, session.Launch(add, 1, 1025, 0, arguments));
        Assert.Equal(InvalidValue, session.Launch(add, 0, 32, 0, arguments));
        Assert.Equal(InvalidValue, session.Launch(add, 1, 1, (227 << 10) + 1, arguments));
        session.Option("multiprocessors", 2);
        Assert.Equal(CooperativeTooLarge, session.Launch(add, 5, 1024, 0, arguments, cooperative: true)); // two of 1024 threads on each
        Assert.Equal(0, session.Launch(add, 1, 1, 0, arguments, cooperative: true));
        Assert.Equal([2], session.Download<int>(p, 1));
    }

    [Fact]
    public void A_handle_that_is_gone_is_refused()
    {
        using var session = new RunnerSession();
        CudaDriver cuda = session.Cuda;
        nint stream = Stream(session), p = session.Upload<int>([1, 2]), add = Compile(session);
        cuda.Check(cuda.cuStreamDestroy(stream));
        Assert.Equal(InvalidHandle, cuda.cuStreamSynchronize(stream));
        Assert.Equal(InvalidHandle, cuda.cuStreamDestroy(stream));
        Assert.Equal(InvalidHandle, session.Launch(add, 1, 1, 0, Arguments(p, 1), stream: stream));
        Assert.Equal(InvalidHandle, session.Launch(stream, 1, 1, 0, Arguments(p, 1)));
        cuda.Check(cuda.cuMemFree(p));
        Assert.Equal(InvalidValue, cuda.cuMemFree(p));
        int word = 0;
        Assert.Equal(InvalidValue, cuda.cuMemcpyHtoDAsync(p, &word, 4, 0));
        Assert.Contains("freed", session.LastError, StringComparison.Ordinal);
    }

    [Fact]
    public void A_copy_past_the_end_of_a_buffer_is_refused()
    {
        using var session = new RunnerSession();
        nint p = session.Upload<int>([1, 2]);
        int* three = stackalloc int[3];
        Assert.Equal(InvalidValue, session.Cuda.cuMemcpyHtoDAsync(p, three, 12, 0));
        Assert.Equal(InvalidValue, session.Cuda.cuMemcpyDtoHAsync(three, p, 12, 0));
        Assert.Equal([1, 2], session.Download<int>(p, 2));
    }

    [Fact]
    public void Deferred_work_happens_when_somebody_waits()
    {
        using var session = new RunnerSession();
        nint add = Compile(session), p = session.Upload<int>([1]);
        session.Option("deferred", 1);
        Assert.Equal(0, session.Launch(add, 1, 1, 0, Arguments(p, 1)));
        Assert.Equal(1, *(int*)p); // device memory is the host's own here: nothing ran yet
        session.Cuda.Check(session.Cuda.cuStreamSynchronize(0));
        Assert.Equal(2, *(int*)p);
    }
}
