using System.Text.Json.Nodes;
using KvCuda.GpuBench;
using KvCuda.Study;
using KvCuda.Tests.Weights;

namespace KvCuda.Tests.Bench;

/// <summary>What the bench of a GPU makes of its figures: shares, verdicts, and files that survive an interruption.</summary>
public class GpuResultsTests
{
    static readonly Ceilings ceilings = new(4e12, 4.5e12, 800e12);

    [Theory]
    [InlineData(2, 0.5, 1.50)]
    [InlineData(4, 0.5, 2.00)]
    [InlineData(2, 1, 4 / 3.0)]
    [InlineData(4, 4, 1.18)]
    public void The_law_of_sharing_gives_the_gains_of_its_table(double gain, double budget, double expected) =>
        Assert.Equal(expected, SharingLaw.Ratio(gain, budget, overhead: 0), 0.005);

    [Fact]
    public void The_more_of_a_step_is_fixed_cost_the_more_sharing_gains()
    {
        Assert.True(SharingLaw.Ratio(4, 1, overhead: 3) > SharingLaw.Ratio(4, 1, overhead: 0));
        // A step of 3 ms that moves 2 + 1 GB at 2 TB/s: 1.5 ms of 1 ms for the weights are neither.
        Assert.Equal(1.5, SharingLaw.Overhead(3e-3, 2e9, 1e9, 2e12), 1e-9);
        Assert.Equal(0, SharingLaw.Overhead(1e-3, 2e9, 1e9, 2e12));
    }

    [Fact]
    public void The_roofline_is_memory_or_arithmetic_whichever_takes_longer()
    {
        Assert.Equal(1e-3, Roofline.Seconds(4.5e9, 1e9, ceilings.ReadBytesPerSecond, ceilings.CublasFlopsPerSecond), 1e-12);
        Assert.Equal(2e-3, Roofline.Seconds(4.5e9, 1.6e12, ceilings.ReadBytesPerSecond, ceilings.CublasFlopsPerSecond), 1e-12);
    }

    [Theory]
    [InlineData(0.81, false, "ambitious")]
    [InlineData(0.70, false, "credible")]
    [InlineData(0.64, false, "missed")]
    [InlineData(0.64, true, "reached")]
    [InlineData(0.79, true, "missed")]
    public void A_verdict_says_which_target_was_reached(double value, bool less, string verdict) =>
        Assert.Equal(verdict, (less ? new Target(0.65, 0.65, Less: true) : new Target(0.65, 0.80)).Verdict(value));

    [Fact]
    public void A_figure_carries_its_shares_of_the_ceilings_and_its_verdict()
    {
        JsonObject json = new Figure("decode/1.1B/1", "1.1B", 1500, "tokens/s")
        {
            Microseconds = 1000, Bytes = 2e9, Share = 0.5, Of = "copy", Target = Targets.Decode("1.1B"),
        }.Json(ceilings);
        Assert.Equal(0.5, (double)json["of_copy"]!, 1e-9);
        Assert.Equal(2 / 4.5, (double)json["of_read"]!, 1e-9);
        Assert.Equal("missed", (string?)json["verdict"]);
    }

    [Fact]
    public void Without_its_ceiling_a_figure_is_not_judged()
    {
        JsonObject json = new Figure("gemm", "gemm", 10, "us") { Microseconds = 10, Flops = 1e9, Of = "cuBLAS", Target = Targets.Gemm }
            .Json(new(4e12, 4.5e12, 0));
        Assert.Equal("not judged", (string?)json["verdict"]);
        Assert.Null(json["of_cublas"]);
    }

    [Fact]
    public void A_section_measured_again_replaces_its_figures_and_leaves_the_others()
    {
        using var folder = new TemporaryFolder();
        ResultFile first = ResultFile.Open(folder.ToString(), "NVIDIA H200");
        first.Begin(new() { ["device"] = "NVIDIA H200" });
        first.Ceilings = ceilings;
        Put(first, "decode", "decode/1.1B/1", 1000);
        Put(first, "gemm", "gemm/q", 10);
        first.Save();

        ResultFile second = ResultFile.Open(folder.ToString(), "NVIDIA H200");
        Put(second, "decode", "decode/1.1B/1", 1200);
        second.Save();

        ResultFile read = ResultFile.Open(folder.ToString(), "NVIDIA H200");
        Assert.Equal(ceilings, read.Ceilings);
        Assert.Equal(1200, (double)read.Figure("decode/1.1B/1")!["value"]!);
        Assert.Equal(10, (double)read.Figure("gemm/q")!["value"]!);
        Assert.Equal("begun, not finished", (string?)read.Sections["decode"]!["state"]);
        Assert.Equal(["NVIDIA-H200.json", "NVIDIA-H200.md"], Directory.GetFiles(folder.ToString()).Select(Path.GetFileName).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void The_page_begins_with_what_was_missed_and_names_what_was_not_measured()
    {
        using var folder = new TemporaryFolder();
        ResultFile file = ResultFile.Open(folder.ToString(), "NVIDIA H200");
        file.Begin(new() { ["device"] = "NVIDIA H200" });
        file.Ceilings = ceilings;
        Put(file, "decode", "decode/1.1B/1", 1000);
        file.Save();
        string page = File.ReadAllText(file.MarkdownPath);
        Assert.Contains("| a figure | 0.50 of copy | 0.65 | 0.8 | **missed** |", page, StringComparison.Ordinal);
        Assert.Contains("State: begun, not finished.", page, StringComparison.Ordinal);
        Assert.Contains("Not measured in this run: ceilings, tests, batches", page, StringComparison.Ordinal);
    }

    [Fact]
    public void Ours_is_compared_with_the_fastest_way_of_the_peers()
    {
        using var folder = new TemporaryFolder();
        ResultFile file = ResultFile.Open(folder.ToString(), "NVIDIA H200");
        file.Begin(new() { ["device"] = "NVIDIA H200" });
        Put(file, "decode", "decode/1.1B/1", 1000);
        JsonObject Peer(string name, double tokens) => new() { ["key"] = $"peer/{name}/1.1B/1", ["what"] = name, ["value"] = tokens, ["unit"] = "tokens/s" };
        JsonObject ratio = Peers.Compare([Peer("graph", 500), Peer("compiled", 800), Peer("llama.cpp", 700)], file).Last();
        Assert.Equal(1.25, (double)ratio["value"]!, 1e-9);
        Assert.Equal("best: compiled", (string?)ratio["note"]);
        Assert.Equal("missed", (string?)ratio["verdict"]);
    }

    [Fact]
    public void The_PTX_as_it_stands_has_passed_on_a_GPU()
    {
        string results = Path.Combine(Repository.Root, "bench", "results");
        Assert.SkipWhen(PtxText.PassedOn(results) is null,
            $"kernels/shared/ptx.cuh ({PtxText.Hash}) has not passed on a GPU: ./build.sh gpu on a machine that has one, and commit bench/results");
    }

    [Fact]
    public void A_run_certifies_the_PTX_that_it_was_built_with_if_its_tests_passed()
    {
        using var folder = new TemporaryFolder();
        ResultFile file = ResultFile.Open(folder.ToString(), "NVIDIA H200");
        void Tests(string ptx, int failed)
        {
            file.Begin(new() { ["device"] = "NVIDIA H200", ["ptx"] = ptx });
            JsonObject entry = file.Restart("tests");
            entry["state"] = "done";
            entry["figures"]!.AsArray().Add((JsonNode)new JsonObject { ["key"] = "tests/failed", ["what"] = "failed", ["value"] = (double)failed, ["unit"] = "" });
            file.Save();
        }
        Assert.Null(PtxText.PassedOn(folder.ToString()));
        Tests("another", 0);
        Assert.Null(PtxText.PassedOn(folder.ToString()));
        Tests(PtxText.Hash, 1);
        Assert.Null(PtxText.PassedOn(folder.ToString()));
        Tests(PtxText.Hash, 0);
        Assert.StartsWith("NVIDIA H200, 2", PtxText.PassedOn(folder.ToString()), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("--only")]
    [InlineData("--soak", "none", "--only", "soak")]
    [InlineData("--fast")]
    [InlineData]
    public void A_command_line_that_is_not_understood_is_refused(params string[] arguments) =>
        Assert.Throws<InvalidRequestException>(() => BenchOptions.Parse(arguments));

    static void Put(ResultFile file, string section, string key, double value) => file.Restart(section)["figures"]!.AsArray().Add(
        (JsonNode)new Figure(key, "a figure", value, "tokens/s") { Share = 0.5, Of = "copy", Target = new(0.65, 0.80) }.Json(file.Ceilings));
}
