// What a study is asked for.
using KvCuda.Weights;

namespace KvCuda.Study;

/// <summary>A model of a study.</summary>
/// <param name="Name">for tables</param>
/// <param name="Folder">Hugging Face folder</param>
/// <param name="Random">its weights are random: speed only</param>
internal sealed record StudyModel(string Name, string Folder, bool Random)
{
    public ModelConfig Config { get; } = ModelConfig.Load(Folder);
}

/// <summary>All of a study.</summary>
internal sealed record StudyOptions
{
    public required IReadOnlyList<StudyModel> Models { get; init; }

    /// <summary>Further maps.</summary>
    public IReadOnlyList<string> Maps { get; init; } = [];

    /// <summary>Numbers of owners for the named maps; empty: a half and a quarter.</summary>
    public IReadOnlyList<int> Owners { get; init; } = [];

    /// <summary>Formats of keys and values; empty: f32, and the weights' own.</summary>
    public IReadOnlyList<string> Formats { get; init; } = [];

    /// <summary>Empty: the papers', shortened to the model's context.</summary>
    public IReadOnlyList<Mix> Mixes { get; init; } = [];

    /// <summary>Text files, and .json lists of lists of token ids.</summary>
    public IReadOnlyList<string> Texts { get; init; } = [];

    /// <summary>A file of multiple-choice questions, or null.</summary>
    public string? Questions { get; init; }

    /// <summary>Of <see cref="Parts"/>; empty: all but cache.</summary>
    public IReadOnlyList<string> Only { get; init; } = [];

    /// <summary>Owners down to which maps are searched; 0: a quarter of the layers.</summary>
    public int SearchOwners { get; init; }

    /// <summary>Minutes that the study may take; tasks that would not fit are left out and named. 0: no limit.</summary>
    public double Minutes { get; init; } = 10;

    public string Device { get; init; } = "auto";

    public int Threads { get; init; }

    /// <summary>Seed of retrieval items, of prompts and of the bootstrap.</summary>
    public int Seed { get; init; } = 1;

    /// <summary>Samples of each timed figure.</summary>
    public int Repeats { get; init; } = 3;

    /// <summary>Prompt and new tokens of the part "cache".</summary>
    public Mix Cache { get; init; } = new(32, 100);

    /// <summary>Where report and journal are written; null: nowhere.</summary>
    public string? Out { get; init; }

    public static readonly string[] Parts = ["speed", "quality", "retrieval", "choice", "search", "cache"];

    public bool Has(string part) => Only.Count == 0 || Only.Contains(part);
}
