using System.Runtime.CompilerServices;
using KvCuda.Backends.Cpu;

namespace KvCuda.Tests.Backends.Cpu;

public sealed unsafe class ThreadTeamTests
{
    static void Count(void* argument, int share, int shares) => Interlocked.Increment(ref ((int*)argument)[share]);

    static void Fail(void* argument, int share, int shares)
    {
        if (share == shares / 2)
        {
            throw new ArgumentException("this share is bad");
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(5)]
    public void Every_share_is_done_exactly_once(int threads)
    {
        ThreadTeam team = ThreadTeam.Of(threads);
        int* done = stackalloc int[40];
        for (int round = 1; round <= 3000; round++)
        {
            team.Run(&Count, done, 1 + round % 40);
        }
        int[] expected = [.. Enumerable.Range(0, 40).Select(share => Enumerable.Range(1, 3000).Count(round => 1 + round % 40 > share))];
        Assert.Equal(expected, new Span<int>(done, 40).ToArray());
    }

    [Fact]
    public void Callers_of_one_team_take_turns()
    {
        ThreadTeam team = ThreadTeam.Of(3);
        int* done = stackalloc int[8];
        nint address = (nint)done;
        Parallel.For(0, 4, _ =>
        {
            for (int round = 0; round < 500; round++)
            {
                team.Run(&Count, (void*)address, 8);
            }
        });
        Assert.All(new Span<int>(done, 8).ToArray(), count => Assert.Equal(2000, count));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    public void A_share_that_fails_is_heard_of_and_the_team_goes_on(int threads)
    {
        ThreadTeam team = ThreadTeam.Of(threads);
        Exception error = Assert.ThrowsAny<Exception>(() => team.Run(&Fail, null, 6));
        Assert.Contains("this share is bad", error.ToString(), StringComparison.Ordinal);
        int done = 0;
        team.Run(&Once, Unsafe.AsPointer(ref done), 7);
        Assert.Equal(7, done);
    }

    static void Once(void* argument, int share, int shares) => Interlocked.Increment(ref *(int*)argument);
}
