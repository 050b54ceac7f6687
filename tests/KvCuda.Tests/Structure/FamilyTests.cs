// Every family of models has its places, as every kernel has.
using KvCuda.Tests.Models;
using KvCuda.Weights;
using KvCuda.Weights.Families;

namespace KvCuda.Tests.Structure;

public class FamilyTests
{
    // Families that a golden case of another name or a unit test of the config stands for.
    static readonly Dictionary<ModelFamily, string> WithoutGolden = new()
    {
        [ModelFamily.Mistral] = "ModelConfigTests: Llama behind a window",
        [ModelFamily.Qwen2] = "ModelConfigTests: Llama with biases",
        [ModelFamily.Qwen3] = "qwen3-moe has its attention",
        [ModelFamily.Hunyuan] = "ModelConfigTests",
        [ModelFamily.Olmo2] = "KVCUDA_GOLDEN",
        [ModelFamily.Cohere2] = "KVCUDA_GOLDEN",
        [ModelFamily.Mixtral] = "KVCUDA_GOLDEN",
    };

    [Fact]
    public void Every_family_stands_in_the_table_and_has_a_file_of_its_name()
    {
        string folder = Path.Combine(Repository.Root, "src", "KvCuda", "Weights", "Families");
        foreach (ModelFamily id in Enum.GetValues<ModelFamily>())
        {
            Assert.Contains(Family.All, family => family.Id == id);
            string file = id == ModelFamily.LckvLlama ? "Llama" : $"{id}";
            Assert.True(File.Exists(Path.Combine(folder, file + ".cs")), $"{id} has no file {file}.cs");
        }
    }

    [Fact]
    public void Every_family_has_a_golden_case_or_a_reason_why_not()
    {
        HashSet<ModelFamily> covered = [.. GoldenCase.Names.Concat(GoldenCase.Families)
            .Select(name => ModelConfig.Load(new GoldenCase(name).Folder).Family)];
        Assert.DoesNotContain(Enum.GetValues<ModelFamily>(),
            id => !covered.Contains(id) && !WithoutGolden.ContainsKey(id));
        Assert.DoesNotContain(WithoutGolden.Keys, covered.Contains);
    }

    [Fact]
    public void Every_architecture_stands_in_the_documentation()
    {
        string page = File.ReadAllText(Path.Combine(Repository.Root, "docs", "adding-a-model.md"));
        Assert.DoesNotContain(ModelConfigReader.Architectures,
            name => !page.Contains(name, StringComparison.Ordinal));
    }
}
