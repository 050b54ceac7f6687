namespace KvCuda.Kernels.Matmul;

/// <summary>
/// Products that no plan chooses before a GPU has measured them, by request: KVCUDA_MATMUL=few, wgmma or few,wgmma. Read when a
/// backend is made.
/// </summary>
internal static class MatmulPreference
{
    /// <summary>What KVCUDA_MATMUL says.</summary>
    public static string Value { get; set; } = Environment.GetEnvironmentVariable("KVCUDA_MATMUL") ?? "";

    /// <summary>Decode-sized products of class fast run on <see cref="MatmulFew"/>.</summary>
    public static bool Few => Value.Split(',').Contains("few");

    /// <summary>Prompt-sized products of bf16 run on <see cref="MatmulWgmma"/> where the device has it.</summary>
    public static bool Wgmma => Value.Split(',').Contains("wgmma");
}
