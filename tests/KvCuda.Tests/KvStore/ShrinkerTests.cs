namespace KvCuda.Tests.KvStore;

public sealed class ShrinkerTests
{
    [Fact]
    public void A_failing_program_is_reduced_to_what_makes_it_fail()
    {
        List<Operation> program = Shrinker.Program(new Random(5), 200, codes: 8);
        program[77] = new(9, 40, 50);
        program[150] = new(9, 41, 51);

        // Fails if there are two operations 9, the second with A above 3.
        List<Operation> shortest = Shrinker.Shrink(program,
            p => p.Where(o => o.Code == 9).Skip(1).Any(o => o.A > 3));

        Assert.Equal([new(9, 0, 0), new(9, 4, 0)], shortest);
    }
}
