using System.Diagnostics;
using System.Text.RegularExpressions;
using KvCuda.Kernels;

namespace KvCuda.Tests.Kernels;

/// <summary>
/// Bugs planted in the real kernels, one at a time: the kernel's own tests must fail, with words that name the place or the kernel.
/// Each takes a process of the test runner, so they run only when asked for: KVCUDA_MUTATIONS=1 (all) or a word of the names wanted.
/// </summary>
public sealed partial class MutationTests
{
    /// <summary>The bugs: a name, the file, what is there, what is put in its place, the tests that must notice.</summary>
    static readonly (string Name, string File, string Right, string Wrong, string Tests)[] mutations =
    [
        ("no barrier before the partial sums are read", "shared/warp.cuh", "        __syncthreads();\n        float total", "        float total", "NormTests"),
        ("no barrier before the partial sums are overwritten", "shared/warp.cuh", "        __syncthreads();\n        return total;", "        return total;", "NormTests"),
        ("the mean of one number fewer", "norm/layer_norm.cu", "block_sum<THREADS / 32>(square) / (float)args.dim", "block_sum<THREADS / 32>(square) / (float)(args.dim - 1)", "NormTests"),
        ("no epsilon", "norm/rms_norm.cu", " + args.epsilon", "", "NormTests"),
        ("a page too far", "shared/kv_layout.cuh", "token / page_tokens]", "token / page_tokens + 1]", "KvTests"),
        ("a page too far, read", "shared/kv_layout.cuh", "token / page_tokens]", "token / page_tokens + 1]", "AttentionTests"),
        ("a token too far in its page", "kv/store_kv.cu", "position % PAGE_TOKENS", "(position + 1) % PAGE_TOKENS", "KvTests"),
        ("padding is stored", "kv/store_kv.cu", "if (sequence < 0) {", "if (sequence < -1) {", "KvTests"),
        ("the first unrotated number is forgotten", "kv/rotate_store_kv.cu", "i >= 2 * pairs", "i > 2 * pairs", "KvTests"),
        ("padding is stored by the fused projections", "matmul/matvec_qkv.cu", "sequence >= 0", "sequence >= -1", "QkvTests"),
        ("a bias is read as another head's", "matmul/matvec_qkv.cu", "low += to_f32(bias[low_at])", "low += to_f32(bias[high_at])", "QkvTests"),
        ("keys are read before they have arrived", "attention/attend_tile.cuh", "        cp_async_wait<1>();\n        tile_barrier<Threads>();\n        float s", "        cp_async_wait<2>();\n        tile_barrier<Threads>();\n        float s", "AttentionTests"),
        ("values are read before they have arrived", "attention/attend_tile.cuh", "        cp_async_wait<1>();\n        tile_barrier<Threads>();\n        lines.values", "        tile_barrier<Threads>();\n        lines.values", "AttentionTests"),
        ("nobody waits for the others' keys", "attention/attend_tile.cuh", "        tile_barrier<Threads>();\n        float s", "        float s", "AttentionTests"),
        ("keys are overwritten while others read them", "attention/attend_tile.cuh", "        tile_barrier<Threads>();\n        if (!One && next < past) {\n            tokens.copy<Threads>(keys", "        if (!One && next < past) {\n            tokens.copy<Threads>(keys", "AttentionTests"),
        ("tokens that nobody sees are copied", "attention/attend_tile.cuh", "page >= 0);", "true);", "AttentionTests"),
        ("a row sees its own token where it must not", "attention/softmax.cuh", "position + (mask.strictly_earlier ? 0 : 1)", "position + 1", "AttentionTests"),
        ("a window one too wide", "attention/softmax.cuh", "position + 1 - mask.window", "position - mask.window", "AttentionTests"),
        ("a sink too many", "attention/softmax.cuh", "t < sinks)", "t <= sinks)", "AttentionTests"),
        ("chunks that were never made are merged", "attention/merge_splits.cu", "if (visible.any_of(chunk)) {", "if (true) {", "AttentionTests"),
        ("a partial result in the next chunk's place", "attention/attend_decode_split.cu", "first_head + line, chunk);", "first_head + line, chunk + 1);", "AttentionTests"),
        ("a tile sees only what its first row sees", "attention/attend_prefill.cu", "together.end = max(together.end, other.end);", "", "AttentionTests"),
        ("weights are read before they are written", "attention/attend_exact.cu", "        __syncthreads();\n\n        // Values", "\n        // Values", "AttentionTests"),
        ("an output too many", "matmul/matvec.cu", "row < args.rows && output < args.outputs", "row < args.rows && output <= args.outputs", "MatmulTests"),
        ("a row beyond the last is read", "matmul/matvec.cu", "min(first_row + r, args.rows - 1)", "(first_row + r)", "MatmulTests"),
        ("a stage is used before it has arrived", "matmul/matmul_mma.cu", "cp_async_wait<STAGES - 2>()", "cp_async_wait<STAGES - 1>()", "MatmulTests"),
        ("a stage is refilled while others read it", "matmul/matmul_mma.cu", "        // note: this barrier also says that everyone has read stage (step - 1) % STAGES, which is filled anew below.\n        __syncthreads();\n", "", "MatmulTests"),
        ("inputs beyond the last are copied", "matmul/matmul_mma.cu", "output < args.outputs && input < args.inputs", "output < args.outputs", "MatmulTests"),
        ("a panel is refilled while others read it", "matmul/matmul_tile.cu", "            }\n        }\n        __syncthreads();\n    }", "            }\n        }\n    }", "MatmulTests"),
        ("a number beyond the last is gated", "mlp/gate.cu", "i < args.count", "i <= args.count", "MlpTests"),
        ("another constant of GELU", "mlp/activation.cuh", "0.044715f", "0.045715f", "MlpTests"),
        ("a rotation the other way", "rope/rotate.cu", "-(high * sine)", "high * sine", "RopeTests"),
        ("angles in f32", "rope/rope_angles.cu", "(double)args.positions[row] * (double)args.inverse_frequency[i]", "(float)args.positions[row] * args.inverse_frequency[i]", "RopeTests"),
        ("padding reads the row before the table", "embed/embed_tokens.cu", "token >= 0 && ", "", "EmbedTests"),
        ("the histogram is counted before it is cleared", "sample/sample_row.cu", "            shared.counts[i] = 0;\n        }\n        __syncthreads();", "            shared.counts[i] = 0;\n        }", "SampleTests"),
        ("the higher of two equal tokens wins", "sample/argmax.cuh", "other_place < place", "other_place > place", "SampleTests"),
    ];

    public static TheoryData<string> Names => [.. mutations.Select(mutation => mutation.Name)];

    [Theory]
    [MemberData(nameof(Names))]
    public void A_bug_planted_in_a_kernel_fails_its_tests_by_name(string name)
    {
        string? wanted = Environment.GetEnvironmentVariable("KVCUDA_MUTATIONS");
        Assert.SkipWhen(string.IsNullOrEmpty(wanted), "KVCUDA_MUTATIONS=1 plants each bug in turn and runs the kernel's tests in a process of their own");
        Assert.SkipWhen(wanted != "1" && !name.Contains(wanted!, StringComparison.Ordinal), $"not asked for by KVCUDA_MUTATIONS={wanted}");
        (_, string file, string right, string wrong, string tests) = mutations.Single(mutation => mutation.Name == name);
        string text = KernelFiles.Embedded.Text("kernels/" + file);
        Assert.Equal(2, text.Split(right).Length); // the place is there, once
        string folder = Directory.CreateTempSubdirectory("kvcuda-mutation-").FullName;
        try
        {
            string path = Path.Combine(folder, "kernels", file);
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllText(path, text.Replace(right, wrong, StringComparison.Ordinal));
            (int code, string output) = RunTests(tests, folder);
            Assert.True(code != 0, $"{tests} did not notice: {name} (kernels/{file})");
            string words = Complaint().Match(output).Value;
            // A line of the kernels, or from a comparison the name of a kernel.
            words = words.Length > 0 ? words : FirstFailure().Match(output).Groups[1].Value.Trim();
            Assert.True(words.Contains("kernels/", StringComparison.Ordinal)
                || KernelFiles.Paths.Any(path => words.StartsWith(Path.GetFileNameWithoutExtension(path), StringComparison.Ordinal)),
                $"{tests} failed without naming the place: {words}\n{output}");
            Console.Error.WriteLine($"mutation | {name} | {file} | {words}");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    static (int Code, string Output) RunTests(string tests, string kernels)
    {
        string assembly = typeof(MutationTests).Assembly.Location, host = Environment.ProcessPath!;
        string[] runner = Path.GetFileNameWithoutExtension(host) == "dotnet" ? [assembly] : [];
        var start = new ProcessStartInfo(host, [.. runner, "-nocolor", "-class", "*." + tests])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment["KVCUDA_TEST_KERNELS"] = kernels;
        using Process process = Process.Start(start)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output + errors.Result);
    }

    // What the host runner says of a kernel: "matvec: block (0,0,0) thread (3,0,0): ..., kernels/matmul/matvec.cu:52".
    [GeneratedRegex(@"\w+: block \([^\n]*kernels/[\w/.]+:\d+")]
    private static partial Regex Complaint();

    [GeneratedRegex(@"\[FAIL\]\s*\n\s*([^\n]*)")]
    private static partial Regex FirstFailure();
}
