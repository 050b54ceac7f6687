using KvCuda.Backends;
using KvCuda.Tensors;

namespace KvCuda.Model;

// Before the first token: the passes that an engine's life consists of, walked so that the backend learns what they need.
internal sealed partial class Decoder
{
    /// <summary>Walks decode steps of few and many sequences, and prompts of all the sizes that kernels are chosen by.</summary>
    /// <param name="planner">asks for kernels and computes nothing</param>
    /// <param name="batch">filled and left empty</param>
    /// <param name="mode">how prompts run</param>
    /// <param name="maxContext">longest sequence</param>
    public void Prepare(IPlanningBackend planner, Batch batch, PrefillMode mode, int maxContext)
    {
        // note: the copy shares this decoder's memory, so its passes must not allocate (none of them slides).
        var dry = (Decoder)MemberwiseClone();
        dry.backend = planner;
        dry.Prepare(batch, mode, maxContext);
    }

    void Prepare(Batch batch, PrefillMode mode, int maxContext)
    {
        int most = Math.Min(batch.MaxSequences, Math.Min(batch.MaxRows, batch.MaxWanted));
        foreach (int sequences in new[] { 1, 2, 3, 5, 16, most }.Where(n => n <= most).Distinct())
        {
            Walk(batch, mode, sequences, rowsEach: 1);
            backend.Sample(new("tokens", DType.I32, work.Changed.Address, 1, sequences), work.Logits.Top(sequences),
                new("sampling", DType.I32, work.Changed.Address, sequences, SampleRow.Words), work.Changed);
        }
        int longest = Math.Min(batch.MaxRows, maxContext);
        // Few rows; as many as a decode step may have; more; and enough for tiles of attention.
        foreach (int rows in new[] { 2, 5, 16, 64, 2 * batch.MaxSequences, longest }.Where(n => n > 1 && n <= longest).Distinct())
        {
            Walk(batch, mode, sequences: 1, rows);
        }
        if (sharing.IsCyclic)
        {
            backend.Scatter(work.X, work.Narrow, work.Changed); // rows that iterated come back to their places
        }
        batch.Clear();
    }

    void Walk(Batch batch, PrefillMode mode, int sequences, int rowsEach)
    {
        batch.Clear();
        int[] tokens = new int[rowsEach];
        for (int sequence = 0; sequence < sequences; sequence++)
        {
            batch.Add(tokens, firstPosition: 0, wanted: 1);
        }
        batch.Upload();
        Forward(batch, mode);
    }
}
