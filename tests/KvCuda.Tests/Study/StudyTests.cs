// The study: what is exact is exact, what is planned is run once, and the pages say what was measured.
using System.Text.Json;
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Study;
using KvCuda.Tensors;
using KvCuda.Weights;

namespace KvCuda.Tests.Study;

public class StudyTests
{
    static string Weights(string name) => Path.Combine(Repository.Root, "weights", name);

    [Theory]
    [InlineData("standard", 64, 9, 100)]
    [InlineData("lasagna-bottom:2", 16, 5, 40)]
    [InlineData("yoco:32", 16, 7, 200)]
    public void A_capacity_is_what_a_store_really_holds(string map, int pageTokens, int sequences, int tokens)
    {
        var layout = new KvLayout(LayerSharing.Parse(map, 8, 32), 2, 32, DType.BF16, pageTokens);
        long budget = Capacity.Budget(layout, sequences, tokens);
        Assert.True(Capacity.Sequences(layout, budget, tokens) >= sequences);
        // Half as many owners, twice as many sequences: to within pages and slabs.
        Assert.Equal(0, Capacity.Sequences(layout, layout.Classes.Sum(c => c.PageBytes) - 1, tokens));
    }

    [Fact]
    public void Half_the_owners_hold_twice_the_sequences()
    {
        KvLayout Of(string map) => new(LayerSharing.Parse(map, 8), 2, 32, DType.BF16, 64);
        int all = Capacity.Sequences(Of("standard"), 64 << 20, 256), half = Capacity.Sequences(Of("lasagna-bottom:4"), 64 << 20, 256);
        Assert.InRange(half / (double)all, 1.97, 2.03);
    }

    [Fact]
    public void Maps_of_a_study_are_the_nine_names_without_duplicates()
    {
        ModelConfig config = ModelConfig.Load(Weights("demo"));
        IReadOnlyList<StudyMap> maps = StudyMap.All(config, [], ["0_0_0_0_0_0_0_0"], random: false);
        // Eight distinct maps at half of 8 layers and six at a quarter (weights/README.md), the model's own, and one's own.
        Assert.Equal(8 + 6 + 1 + 1, maps.Count);
        Assert.Equal(maps.Count, maps.Select(map => map.Map).Distinct().Count());
        Assert.True(maps[0].Trained);
        Assert.All(maps.Skip(1), map => Assert.False(map.Trained));
        // A model that was trained with a map has no weights for others.
        Assert.Single(StudyMap.All(ModelConfig.Load(Weights("pizza-middle-2")), [], [], random: false));
        Assert.Contains("which this model's file does not have",
            Assert.Throws<InvalidRequestException>(() => StudyMap.All(ModelConfig.Load(Weights("pizza-middle-2")), [], ["standard"], random: false)).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void The_integral_over_five_lengths_is_exact_where_a_step_is_linear_in_its_length()
    {
        var mix = new Mix(32, 97);
        (int, double)[] points = [.. Integral.Lengths(mix).Select(length => (length, 1e-3 + (length * 1e-5)))];
        double all = Enumerable.Range(32, 97).Sum(length => 1e-3 + (length * 1e-5));
        Assert.Equal(all, Integral.Seconds(points, mix.Prompt, mix.Generate), 9);
    }

    [Fact]
    public void Perplexity_of_the_study_is_the_command_s_and_the_reference_has_no_distance_from_itself()
    {
        int[][] windows = JsonSerializer.Deserialize<int[][]>(File.ReadAllBytes(Path.Combine(Repository.Root, "weights", "held-out.json")))![..2];
        var text = new StudyText("held-out", windows);
        var quality = new TextQuality(Weights("demo"), "cpu", 1);
        using LoadedModel model = quality.Load(null, "f32", 257, sequences: 2);
        Predictions reference = quality.Run(model, text, asReference: true), again = quality.Run(model, text, asReference: false);
        Assert.Equal(reference.Losses, again.Losses);
        Assert.Equal(1, again.SameTop);
        Assert.True(again.Distances.Max() < 1e-9);
        double perplexity = KvCuda.Engine.PerplexityRun.Of(model, PrefillMode.Converged, windows);
        Assert.Equal(perplexity, TextQuality.Cells("demo", "m", "f32", text, reference, reference)[0].Value, 6);
    }

    [Fact]
    public void Another_map_is_farther_from_the_reference_than_another_format()
    {
        int[][] windows = JsonSerializer.Deserialize<int[][]>(File.ReadAllBytes(Path.Combine(Repository.Root, "weights", "held-out.json")))!;
        StudyText text = new StudyText("held-out", windows).Head(128);
        var quality = new TextQuality(Weights("demo"), "cpu", 1);
        double Distance(string? map, string format, bool reference = false)
        {
            using LoadedModel model = quality.Load(map, format, 257, sequences: 1);
            return quality.Run(model, text, reference).Distances.DefaultIfEmpty(0).Average();
        }
        Distance(null, "f32", reference: true);
        double format = Distance(null, "bf16"), map = Distance("lasagna-bottom:4", "f32");
        Assert.True(format < 0.01 && map > 10 * format, $"{format} {map}");
    }

    [Fact]
    public void A_trained_model_copies_what_it_has_just_read_better_than_chance()
    {
        IReadOnlyList<Retrieval.Item> items = Retrieval.Make("needle", 64, 3, 2048, [], seed: 1);
        Assert.Equal(items.Select(item => item.Ids), Retrieval.Make("needle", 64, 3, 2048, [], seed: 1).Select(item => item.Ids));
        Assert.All(items, item =>
        {
            Assert.Equal(64, item.Ids.Length);
            // The answer stands in the haystack behind its key.
            int[] tail = item.Ids[^6..];
            Assert.Contains(Enumerable.Range(0, 58), i => item.Ids.AsSpan(i, 6).SequenceEqual(tail));
        });
        foreach (string task in Retrieval.Tasks)
        {
            Assert.All(Retrieval.Make(task, 128, 2, 2048, [], 1), item => Assert.InRange(item.Ids.Length, 100, 128));
        }
    }

    [Fact]
    public void A_study_ends_with_three_files_and_goes_on_where_it_was_stopped()
    {
        string folder = Directory.CreateTempSubdirectory("kvcuda-study-").FullName;
        try
        {
            var options = new StudyOptions
            {
                Models = [new("sandwich-bottom-4", Weights("sandwich-bottom-4"), false)], Only = ["speed", "quality"], Formats = ["bf16"], Mixes = [new(8, 8)],
                Repeats = 1, Minutes = 0, Device = "cpu", Threads = 1, Out = folder,
            };
            List<string> said = [];
            var first = new StudyRun(options, "kvcuda study", said.Add);
            first.Plan();
            first.Run(new Ignored(), default);
            Assert.Contains(first.Cells, cell => cell.Measure == "kv_bytes_per_token" && cell.Value == 1024 && cell.Exact);
            Assert.Contains(first.Cells, cell => cell.Measure == "perplexity" && cell.At == "held-out" && cell.N == 3072);
            Assert.Contains(first.Cells, cell => cell.Measure == "throughput" && cell.Value > 0);

            var second = new StudyRun(options, "kvcuda study", said.Add);
            second.Plan();
            Assert.Equal(0, second.PredictedSeconds);
            Assert.Equal(first.Cells.Select(cell => cell.Key), second.Cells.Select(cell => cell.Key));

            ResultSet results = ResultSet.Of(MachineInfo.Here(1, "cpu"), "kvcuda study", second.Cells);
            (string html, string markdown) = new StudyReport(results, options.Models, []).Write();
            Assert.Contains("0_1_2_2_2_2_2_7", html, StringComparison.Ordinal);
            Assert.DoesNotContain("src=", html, StringComparison.Ordinal);
            Assert.Contains("| `0_1_2_2_2_2_2_7` |", markdown, StringComparison.Ordinal);
            string path = Path.Combine(folder, "study.json");
            File.WriteAllText(path, results.Json());
            Assert.Equal(second.Cells.Select(cell => (cell.Key, cell.Value)), ResultSet.Load(path).Cells.Select(cell => (cell.Key, cell.Value)));
            File.WriteAllText(path, "{\"schema\":\"other\"}");
            Assert.Contains("schema", Assert.Throws<InvalidRequestException>(() => ResultSet.Load(path)).Message, StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    sealed class Ignored : IProgress<StudyProgress>
    {
        public void Report(StudyProgress value)
        {
        }
    }

    [Fact]
    public void Generation_without_the_cache_gives_the_same_tokens_and_the_gain_is_measured()
    {
        IReadOnlyList<Cell> cells = CacheOnOff.Run("demo", Weights("demo"), "cpu", 1, prompt: 4, generate: 6, repeats: 1);
        Assert.Equal(["cache_on_s", "cache_off_s", "cache_gain"], cells.Select(cell => cell.Measure));
    }
}
