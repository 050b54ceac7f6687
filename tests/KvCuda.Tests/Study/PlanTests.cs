// Planning: bytes are exact, a cost model predicts what it was not fitted to, and what was not measured is unknown.
using KvCuda.KvStore;
using KvCuda.Model;
using KvCuda.Study;
using KvCuda.Tensors;
using KvCuda.Weights;

namespace KvCuda.Tests.Study;

public class PlanTests
{
    static ModelConfig Config(ModelShape shape)
    {
        string folder = Directory.CreateTempSubdirectory("kvcuda-plan-").FullName;
        try
        {
            File.WriteAllText(Path.Combine(folder, "config.json"), shape.Config(DType.BF16, 8192));
            return ModelConfig.Load(folder);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    // A machine of known rates, with 3 % of noise: 20 us a layer, 20 GB/s, 100 GFLOP/s, 15 GB/s of keys and values.
    static double True(StepWork work, Random? noise = null) =>
        ((work.Layers * 20e-6) + (work.WeightBytes / 20e9) + (work.Flops / 100e9) + (work.KvBytes / 15e9)) * (1 + (((noise?.NextDouble() ?? 0.5) - 0.5) * 0.06));

    [Fact]
    public void A_model_fitted_to_one_shape_predicts_others_within_its_stated_error()
    {
        var noise = new Random(1);
        CostModel cost = CostModel.Fit([.. from config in new[] { Config(ModelShape.Small), Config(ModelShape.Calibration) }
            from batch in new[] { 1, 4, 16 } from context in new[] { 128, 1024 }
            let work = StepWork.Of(config, LayerSharing.Standard(config.Layers), 2, 2, batch, context) select (work, True(work, noise))], 100e9);
        Assert.InRange(cost.RelativeError, 0.1, 0.2);
        foreach (ModelShape shape in new[] { ModelShape.Paper, ModelShape.Medium })
        {
            ModelConfig config = Config(shape);
            foreach (string map in new[] { "standard", "lasagna-bottom:4", "sandwich-top:4" })
            {
                foreach ((int batch, int context) in new[] { (1, 300), (8, 700), (32, 1500) })
                {
                    StepWork work = StepWork.Of(config, LayerSharing.Parse(map, config.Layers), 2, 2, batch, context);
                    Assert.InRange(cost.Step(work) / True(work), 1 - (2 * cost.RelativeError), 1 + (2 * cost.RelativeError));
                }
            }
        }
    }

    static readonly CostModel machine = new([20e-6, 1 / 20e9, 1 / 100e9, 1 / 15e9], 100e9, 0.1);

    static SharingPlan Make(PlanWish wish, Func<string, string, double?>? quality = null)
    {
        ModelConfig config = Config(ModelShape.Medium);
        return Planner.Make(config, 2, wish, machine, StudyMap.All(config, [], [], random: false), ["bf16", "f32"], quality ?? ((_, _) => null));
    }

    [Fact]
    public void Bytes_are_exact_for_a_shape_that_was_never_loaded()
    {
        SharingPlan plan = Make(new(24L << 30, new(512, 1024), 64, double.PositiveInfinity, double.PositiveInfinity));
        // TinyLlama: 2 x 22 x 4 x 64 x 2 bytes (facts of the study, section 2).
        Assert.Equal(22_528, plan.Rows.First(row => row.Map.Sharing.IsStandard && row.Format == "bf16").BytesPerToken);
        Assert.Equal(11_264, plan.Rows.First(row => row.Map.Sharing.Owners.Count == 11 && row.Format == "bf16").BytesPerToken);
        PlanRow standard = plan.Rows.First(row => row.Map.Sharing.IsStandard && row.Format == "bf16");
        Assert.InRange(standard.KvBytes, 64L * 1536 * 22_528, (long)(64L * 1536 * 22_528 * 1.03));
    }

    [Fact]
    public void The_pick_is_the_trained_map_and_the_rest_is_said_to_need_training()
    {
        SharingPlan plan = Make(new(24L << 30, new(512, 1024), 16, double.PositiveInfinity, double.PositiveInfinity));
        Assert.True(plan.Pick!.Map.Trained);
        Assert.All(plan.Rows.Where(row => !row.Map.Trained), row => Assert.Null(row.PerplexityRatio));
        Assert.Contains(plan.Reasons, reason => reason.StartsWith("Assumed:", StringComparison.Ordinal));
    }

    [Fact]
    public void What_does_not_fit_is_refused_with_the_most_that_would()
    {
        SharingPlan plan = Make(new(3L << 30, new(512, 1024), 64, double.PositiveInfinity, double.PositiveInfinity));
        Assert.All(plan.Rows.Where(row => row.Map.Sharing.IsStandard), row => Assert.StartsWith("holds ", row.Refused, StringComparison.Ordinal));
        Assert.Null(plan.Pick);
        Assert.NotNull(plan.ToTrain);
        Assert.Contains("Nothing fits", plan.Reasons[0], StringComparison.Ordinal);
    }

    [Fact]
    public void Where_quality_is_asked_for_unknown_is_not_good_enough()
    {
        var wish = new PlanWish(24L << 30, new(512, 1024), 16, double.PositiveInfinity, 1.02);
        SharingPlan unknown = Make(wish);
        Assert.All(unknown.Rows, row => Assert.Equal("quality unknown", row.Refused));
        SharingPlan measured = Make(wish, (map, format) => format == "f32" ? map.StartsWith("0_0_2", StringComparison.Ordinal) ? 1.01 : 1.5 : null);
        Assert.Equal("0_0_2", measured.Pick!.Map.Map[..5]);
        Assert.Contains(measured.Rows, row => row.Refused == "quality too low");
    }

    [Fact]
    public void A_map_that_looks_upward_is_planned_with_the_prefill_that_it_costs()
    {
        SharingPlan plan = Make(new(24L << 30, new(2048, 64), 4, double.PositiveInfinity, double.PositiveInfinity));
        double down = plan.Rows.First(row => row.Map.Names.Contains("pizza-bottom", StringComparison.Ordinal)).FirstToken;
        double up = plan.Rows.First(row => row.Map.Names.Contains("pizza-top", StringComparison.Ordinal)).FirstToken;
        Assert.True(up > 2 * down, $"{up} {down}");
    }
}
