namespace KvCuda.Tests.KvStore;

/// <summary>
/// One random operation. The numbers are reduced modulo what is there when it runs, so any part of a program is a program.
/// </summary>
readonly record struct Operation(int Code, int A, int B)
{
    public override string ToString() => $"new({Code}, {A}, {B})";
}

/// <summary>Random programs, and the shortest one that still fails.</summary>
static class Shrinker
{
    /// <summary>
    /// Set KVCUDA_LONG_TESTS=1 for searches of minutes instead of seconds; they go through other seeds with
    /// KVCUDA_FIRST_SEED.
    /// </summary>
    public static bool IsThorough => Environment.GetEnvironmentVariable("KVCUDA_LONG_TESTS") == "1";

    /// <summary>The first of the seeds to go through.</summary>
    public static int FirstSeed => int.TryParse(Environment.GetEnvironmentVariable("KVCUDA_FIRST_SEED"), out int seed) ? seed : 0;

    public static List<Operation> Program(Random random, int length, int codes) =>
        [.. Enumerable.Range(0, length).Select(_ => new Operation(random.Next(codes), random.Next(64), random.Next(64)))];

    /// <summary>
    /// Runs a program; if it fails, removes and lowers what can go while it fails, and reports the rest.
    /// </summary>
    /// <param name="program">the operations</param>
    /// <param name="run">null, or what went wrong</param>
    public static void Check(IReadOnlyList<Operation> program, Func<IReadOnlyList<Operation>, string?> run)
    {
        if (run(program) is not { } wrong)
        {
            return;
        }
        List<Operation> shortest = Shrink([.. program], candidate => run(candidate) is not null);
        Assert.Fail($"{run(shortest) ?? "(only sometimes) " + wrong}\nafter: [{string.Join(", ", shortest)}]");
    }

    public static List<Operation> Shrink(List<Operation> program, Func<List<Operation>, bool> fails)
    {
        for (int before = -1; before != program.Count;)
        {
            before = program.Count;
            for (int run = Math.Max(1, program.Count / 2); run >= 1; run /= 2)
            {
                for (int at = 0; at + run <= program.Count;)
                {
                    List<Operation> without = [.. program[..at], .. program[(at + run)..]];
                    if (fails(without))
                    {
                        program = without;
                    }
                    else
                    {
                        at += run;
                    }
                }
            }
        }
        for (int i = 0; i < program.Count; i++)
        {
            Lower(program, i, o => o.A, (o, a) => o with { A = a }, fails);
            Lower(program, i, o => o.B, (o, b) => o with { B = b }, fails);
        }
        return program;
    }

    static void Lower(List<Operation> program, int at, Func<Operation, int> get, Func<Operation, int, Operation> set,
        Func<List<Operation>, bool> fails)
    {
        Operation original = program[at];
        for (int value = 0; value < get(original); value++)
        {
            program[at] = set(original, value);
            if (fails(program))
            {
                return;
            }
        }
        program[at] = original;
    }
}
