using KvCuda.Tensors;

namespace KvCuda.Tests.Tensors;

public class BF16Tests
{
    [Fact]
    public void Every_bf16_survives_the_way_to_f32_and_back()
    {
        for (int bits = 0; bits <= 0xFFFF; bits++)
        {
            float value = BF16.ToSingle((ushort)bits);
            Assert.Equal(float.IsNaN(value) ? 0x7FFF : bits, BF16.FromSingle(value));
        }
    }

    [Theory]
    [InlineData(0x3F808000u, 0x3F80)] // a tie goes to the even neighbour below
    [InlineData(0x3F818000u, 0x3F82)] // and above
    [InlineData(0x3F808001u, 0x3F81)]
    [InlineData(0x7F7FFFFFu, 0x7F80)] // the largest f32 rounds to infinity
    public void Rounding_is_to_nearest_even(uint f32, int bf16) =>
        Assert.Equal(bf16, BF16.FromSingle(BitConverter.UInt32BitsToSingle(f32)));
}
