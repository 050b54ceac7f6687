namespace KvCuda.Tensors;

/// <summary>
/// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011): a random number is a function of a
/// key and a counter, so a token's draw does not depend on what else was drawn.
/// </summary>
internal static class Philox
{
    /// <summary>A number in [0, 1): the upper 24 bits of the first word, with counter (step, 0, 0, 0).</summary>
    public static float Uniform(uint seedLow, uint seedHigh, uint step) =>
        (FirstWord(seedLow, seedHigh, step, 0, 0, 0) >> 8) * (1f / (1 << 24));

    public static uint FirstWord(uint key0, uint key1, uint c0, uint c1, uint c2, uint c3)
    {
        for (int round = 0; round < 10; round++)
        {
            ulong product0 = 0xD2511F53ul * c0, product1 = 0xCD9E8D57ul * c2;
            (c0, c1, c2, c3) = ((uint)(product1 >> 32) ^ c1 ^ key0, (uint)product1,
                (uint)(product0 >> 32) ^ c3 ^ key1, (uint)product0);
            key0 += 0x9E3779B9;
            key1 += 0xBB67AE85;
        }
        return c0;
    }
}
