namespace KvCuda.GpuBench;

/// <summary>A part of the results that is measured, written and repeated alone.</summary>
/// <param name="Name">as --only names it</param>
/// <param name="Title">for people</param>
/// <param name="About">how it is measured</param>
/// <param name="Run">measures it; null where another program does and bench/gpu.sh merges its figures</param>
internal sealed record Section(string Name, string Title, string About, Action<Bench>? Run)
{
    /// <summary>In the order of the report.</summary>
    public static IReadOnlyList<Section> All { get; } =
    [
        new("ceilings", "Ceilings", "Copy and read bandwidth over 1 GiB, cuBLAS at 8192 cubed.", CeilingSection.Run),
        new("tests", "Right: kernel and model tests on the device", "The test suite's classes of kernels, PTX functions, backend and golden models.", null),
        new("decode", "Decode, one sequence", "Tokens by the wall clock, one after another; bytes are the weights and the visible keys and values, each once.", DecodeSection.Run),
        new("batches", "Decode, several sequences at 1k tokens", "Roofline: the weights and visible keys and values once at read bandwidth, or the arithmetic at cuBLAS's rate, whichever is longer.", BatchSection.Run),
        new("attention", "Paged decode attention, one layer, bf16", "With the merge of its chunks; pages lie apart and are rotated through more than the L2 cache holds.", AttentionSection.RunDecode),
        new("gemm", "Products of prompts, bf16", "cuBLAS on the same shape in the same run; ours reads f32 activations and rounds them, cuBLAS reads bf16.", GemmSection.Run),
        new("prefill", "Causal attention of prompts, bf16", "One layer over one sequence; only the visible half counts as arithmetic.", AttentionSection.RunPrefill),
        new("host", "The host's part of a decode step", "Work that is not waiting; and what of a step the device does not explain.", HostSection.Run),
        new("startup", "Start-up with cached kernels", "A new process: driver, context, kernels, weights, first token.", StartUpSection.Run),
        new("tier", "The host tier: cold pages in pinned host memory", "Copies by the wall clock; 1.1B with room for one prompt of 4096 tokens on the device, first tokens of a prompt cold, cached, and with its pages on the host.", TierSection.Run),
        new("sharing", "Sharing at a fixed budget of keys and values", "1.1B at 1536 tokens a sequence; budget as a multiple of the weights' bytes; the law is that of src/KvCuda.Study/Measure/SharingLaw.cs.", SharingSection.Run),
        new("peers", "Side by side", "The same shapes with random weights in the same run; the peers' figures are their best of the ways tried.", null),
        new("classes", "What the consistent class costs", "The same work in both numerics classes.", ClassSection.Run),
        new("variants", "Kernels that wait for a figure", "Forms that the plan does not choose yet beside the one it does; the fastest is named.", VariantSection.Run),
        new("kernels", "Kernels, each alone", "Every kernel under its own name at the 1.1B shape's sizes; weights rotate through more than the L2 cache holds.", KernelSection.Run),
        new("verbs", "Verbs at the models' sizes", "Every verb of a decode step and of a prompt, cold: weights rotate through more than the L2 cache holds.", VerbSection.Run),
        new("sanitizer", "Right: compute-sanitizer", "memcheck and racecheck over a part of the tests.", null),
        new("soak", "Right: random requests", "Random prompts, shared prefixes, cancellations and sessions in class consistent; every answer is compared with a cold run of the prompt alone.", SoakSection.Run),
    ];
}
