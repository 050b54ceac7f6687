namespace KvCuda.Tests.Kernels;

/// <summary>Equality of what two kernels, or a kernel and a table, made: a failure names the kernel and the first place.</summary>
static class SameBits
{
    /// <param name="kernel">who made it: "store_kv"</param>
    /// <param name="expected">what is right</param>
    /// <param name="found">what it made</param>
    /// <param name="of">what the numbers are: "the arena", "q"</param>
    public static void Check<T>(string kernel, ReadOnlySpan<T> expected, ReadOnlySpan<T> found, string of) where T : struct, IEquatable<T>
    {
        int same = expected.CommonPrefixLength(found);
        if (same < expected.Length || same < found.Length)
        {
            Assert.Fail(same < expected.Length && same < found.Length
                ? $"{kernel}: number {same} of {of} is {found[same]}, expected {expected[same]}"
                : $"{kernel}: {of} has {found.Length} numbers, expected {expected.Length}");
        }
    }
}
