using System.Globalization;
using KvCuda.Interop;

namespace KvCuda.Tests.HostRunner;

/// <summary>
/// The kernels of tests/HostRunner/planted: compiled with BUG each must fail with the words of its `//: caught` line and,
/// where a line is marked `// &lt;-`, name that line; compiled without, it must run clean in every order of its threads.
/// </summary>
public class PlantedBugTests
{
    static readonly string folder = Path.Combine(Repository.Root, "tests", "HostRunner", "planted");

    public static TheoryData<string> Files => [.. Directory.GetFiles(folder, "*.cu").Order().Select(f => Path.GetFileNameWithoutExtension(f)!)];

    public static TheoryData<string> Bugs => [.. Files.Select(row => row.Data).Where(name => Planted.Read(folder, name).Words is not null)];

    [Theory]
    [MemberData(nameof(Bugs))]
    public void A_planted_bug_is_caught_and_named(string name)
    {
        Planted planted = Planted.Read(folder, name);
        foreach (int seed in new[] { 0, 1, 7 })
        {
            using var session = new RunnerSession();
            session.Option("seed", seed);
            (int result, string words) = planted.Run(session, bug: true);
            Assert.Contains(planted.Words!, words, StringComparison.Ordinal);
            Assert.True(planted.Result == result, $"{result}: {words}");
            Assert.StartsWith(name + ": block (", words, StringComparison.Ordinal);
            if (planted.Line > 0)
            {
                Assert.Contains($"{planted.Path}:{planted.Line}", words, StringComparison.Ordinal);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Files))]
    public void Its_correct_twin_gives_no_false_alarm(string name)
    {
        Planted planted = Planted.Read(folder, name);
        foreach (int seed in new[] { 0, 1, 7 })
        {
            using var session = new RunnerSession();
            session.Option("seed", seed);
            (int result, string words) = planted.Run(session, bug: false);
            Assert.True(result == 0, words);
        }
    }

    /// <summary>One file and what its `//:` lines say.</summary>
    sealed record Planted(string Name, string Text, int Result, string? Words, int Line)
    {
        public string Path => $"tests/HostRunner/planted/{Name}.cu";

        public static Planted Read(string folder, string name)
        {
            string text = File.ReadAllText(System.IO.Path.Combine(folder, name + ".cu"));
            string[] lines = text.Split('\n');
            string? caught = lines.FirstOrDefault(l => l.StartsWith("//: caught ", StringComparison.Ordinal))?["//: caught ".Length..].Trim();
            int marked = Array.FindIndex(lines, l => l.EndsWith("// <-", StringComparison.Ordinal)) + 1;
            return caught is null
                ? new(name, text, 0, null, 0)
                : new(name, text, int.Parse(caught[..3], CultureInfo.InvariantCulture), caught[4..], marked);
        }

        public (int Result, string Words) Run(RunnerSession session, bool bug)
        {
            int blocks = 1, threads = 1, shared = 0, cooperative = 0;
            var arguments = new ArgumentBytes();
            var freed = new List<nint>();
            foreach (string line in Text.Split('\n').Where(l => l.StartsWith("//: ", StringComparison.Ordinal)))
            {
                string[] words = line[4..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
                switch (words[0])
                {
                    case "launch":
                        foreach (string[] pair in words[1..].Select(w => w.Split('=')))
                        {
                            int value = int.Parse(pair[1], CultureInfo.InvariantCulture);
                            _ = pair[0] switch
                            {
                                "blocks" => blocks = value,
                                "threads" => threads = value,
                                "shared" => shared = value,
                                _ => cooperative = value,
                            };
                        }
                        break;
                    case "buffer":
                        nint buffer = Buffer(session, int.Parse(words[1], CultureInfo.InvariantCulture), words[2]);
                        arguments.Add(buffer);
                        if (bug && words.Length > 3)
                        {
                            freed.Add(buffer);
                        }
                        break;
                    case "ints":
                        arguments.Add(session.Upload<int>(words[1..].Select(w => int.Parse(w, CultureInfo.InvariantCulture)).ToArray()));
                        break;
                    case "int": arguments.Add(int.Parse(words[1], CultureInfo.InvariantCulture)); break;
                    case "long": arguments.Add(long.Parse(words[1], CultureInfo.InvariantCulture)); break;
                    case "option":
                        string[] option = words[1].Split('=');
                        session.Option(option[0], long.Parse(option[1], CultureInfo.InvariantCulture));
                        break;
                    default: break;
                }
            }
            nint function = session.Compile(Text, Path, Name, bug ? ["BUG=1"] : []);
            foreach (nint buffer in freed)
            {
                Free(session.Cuda, buffer);
            }
            int result = session.Launch(function, blocks, threads, shared, arguments.ToArray(), cooperative != 0);
            return (result, session.LastError);
        }

        static unsafe void Free(CudaDriver cuda, nint buffer) => cuda.Check(cuda.cuMemFree(buffer));

        static nint Buffer(RunnerSession session, int bytes, string content)
        {
            if (content == "none")
            {
                return session.Allocate(bytes);
            }
            float[] values = new float[bytes / 4];
            for (int i = 0; i < values.Length && content == "ramp"; i++)
            {
                values[i] = i;
            }
            return session.Upload<float>(values);
        }
    }
}
