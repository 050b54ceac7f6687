// Families beyond Llama's, against an independent implementation: committed cases, and a folder of more.
using KvCuda.Engine;
using KvCuda.Model;

namespace KvCuda.Tests.Models;

/// <summary>
/// Each family computes what an independent implementation computes: tokens equal, logits within 2e-3, sequential and batched, in
/// pages of 16 and 64. KVCUDA_GOLDEN names a folder whose cases run as well.
/// </summary>
public class FamilyGoldenTests
{
    const float Tolerance = 2e-3f;

    public static TheoryData<string> Cases()
    {
        TheoryData<string> data = [.. GoldenCase.Families];
        if (Environment.GetEnvironmentVariable("KVCUDA_GOLDEN") is { Length: > 0 } folder)
        {
            foreach (string more in Directory.GetDirectories(folder).Order(StringComparer.Ordinal)
                .Where(path => !GoldenCase.Families.Contains(Path.GetFileName(path)) && File.Exists(Path.Combine(path, "expected.json"))))
            {
                data.Add(more);
            }
        }
        return data;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void A_family_gives_the_golden_logits_and_tokens(string name)
    {
        GoldenCase golden = new(name);
        foreach ((string prefill, int pageTokens, bool batch) in ((string, int, bool)[])
            [("sequential", 16, false), ("converged", 64, true), ("converged", 16, false)])
        {
            var outcomes = GoldenTests.Run(golden, prefill, pageTokens, batch);
            Assert.Equal(golden.Prompts.Count, outcomes.Count);
            for (int prompt = 0; prompt < outcomes.Count; prompt++)
            {
                float[] expected = golden.Logits(prompt, "sequential"), actual = outcomes[prompt].Logits;
                float worst = expected.Zip(actual, (e, a) => float.IsNaN(a) ? float.PositiveInfinity : Math.Abs(e - a)).Max();
                Assert.True(expected.Length == actual.Length && worst <= Tolerance,
                    $"{name}, {prefill}, pages of {pageTokens}, batch {batch}, prompt {prompt}: logits differ by up to {worst}");
                Assert.Equal(golden.Greedy(prompt, "sequential"), outcomes[prompt].Greedy);
            }
        }
    }
}
