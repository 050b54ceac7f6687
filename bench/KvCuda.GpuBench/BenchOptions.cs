namespace KvCuda.GpuBench;

/// <summary>The command line.</summary>
internal sealed record BenchOptions
{
    public const string Usage = """
        KvCuda.GpuBench --begin | --only SECTION[,SECTION] | --merge SECTION FILE | --state SECTION TEXT | --end
          --begin               forget earlier results of this device and write what runs where
          --only SECTIONS       measure these sections; each is written when it is done (--list names them)
          --merge SECTION FILE  add figures that other programs measured: one JSON object a line
          --state SECTION TEXT  say how a section ended that could not say it itself
          --done SECTION        exit code 0 if the section is in the results and complete
          --end                 print what was reached and how many figures there are
          --list                the sections
        with
          --device cuda|cuda:N|cuda-host:plain   --out FOLDER (bench/results)   --work FOLDER for model files
          --tiny                sizes for the host runner: shows that everything works, measures nothing
          --soak SECONDS        of random requests in the section "soak" (20)
          --note KEY=TEXT       something to stand in the results: commit, driver (with --begin; any number of times)
        """;

    public string Device { get; private set; } = "cuda";

    public string Out { get; private set; } = "bench/results";

    public string Work { get; private set; } = "";

    public bool Tiny { get; private set; }

    public int SoakSeconds { get; private set; } = 20;

    public string Command { get; private set; } = "";

    public string[] Arguments { get; private set; } = [];

    public List<(string Key, string Text)> Notes { get; } = [];

    /// <exception cref="InvalidRequestException">Something is not understood.</exception>
    public static BenchOptions Parse(string[] args)
    {
        var options = new BenchOptions();
        for (int i = 0; i < args.Length; i++)
        {
            string Next() => ++i < args.Length ? args[i] : throw new InvalidRequestException($"{args[i - 1]} needs a value.\n{Usage}");
            switch (args[i])
            {
                case "--device": options.Device = Next(); break;
                case "--out": options.Out = Next(); break;
                case "--work": options.Work = Next(); break;
                case "--tiny": options.Tiny = true; break;
                case "--soak":
                    options.SoakSeconds = int.TryParse(Next(), out int seconds) && seconds > 0 ? seconds
                        : throw new InvalidRequestException($"--soak takes seconds, not '{args[i]}'.");
                    break;
                case "--note":
                    string[] note = Next().Split('=', 2);
                    options.Notes.Add((note[0], note.Length > 1 ? note[1] : ""));
                    break;
                case "--begin" or "--end" or "--list": options.Command = args[i]; break;
                case "--only" or "--done":
                    (options.Command, options.Arguments) = (args[i], Next().Split(','));
                    break;
                case "--merge" or "--state":
                    (options.Command, options.Arguments) = (args[i], [Next(), Next()]);
                    break;
                default: throw new InvalidRequestException($"There is no option '{args[i]}'.\n{Usage}");
            }
        }
        if (options.Command.Length == 0)
        {
            throw new InvalidRequestException($"Nothing was asked for.\n{Usage}");
        }
        return options.Work.Length > 0 ? options : options with { Work = Path.Combine(Path.GetTempPath(), "kvcuda-bench") };
    }
}
