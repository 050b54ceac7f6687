// Notices a stored head that differs from the embedding it is said to be.
using KvCuda.Tensors;
using KvCuda.Weights.Families;

namespace KvCuda.Weights;

/// <summary>
/// A config that ties the head to the embedding, in files that hold a head of their own: fine if the two are equal, else one of
/// the two statements is wrong, and which one cannot be guessed.
/// </summary>
static class TiedHeads
{
    /// <summary>Up to here every byte is compared; of a larger head <see cref="Samples"/> blocks, spread evenly.</summary>
    const long CompareAll = 64 << 20;

    const int Block = 4096, Samples = 4096;

    /// <exception cref="ModelFormatException">The files hold a head that is not the embedding.</exception>
    public static void Check(SafetensorsModel files, ModelConfig config, in Tensor embedding)
    {
        string name = TensorNames.Of(config.Family).Of(TensorRole.Head, -1);
        if (!files.TryGet(name, out StoredTensor? head) || head.Address == embedding.Address)
        {
            return;
        }
        if (head.Bytes != embedding.Bytes || head.Type.Type != embedding.Type || !SameBytes(head.Address, embedding.Address, head.Bytes))
        {
            throw new ModelFormatException($"{head.File}: config.json says that the head is the embedding (tie_word_embeddings), but the "
                + $"files hold another one, {name} {head.Shape}, that differs from it. If the model was trained with a head of its own, "
                + "set tie_word_embeddings to false; if not, remove that tensor.");
        }
    }

    static unsafe bool SameBytes(nint a, nint b, long bytes)
    {
        long step = bytes <= CompareAll ? Block : Math.Max(Block, bytes / Samples);
        for (long at = 0; at < bytes; at += step)
        {
            int length = (int)Math.Min(Block, bytes - at);
            if (!new ReadOnlySpan<byte>((byte*)a + at, length).SequenceEqual(new((byte*)b + at, length)))
            {
                return false;
            }
        }
        return true;
    }
}
