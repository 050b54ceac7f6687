namespace KvCuda.PeerBench;

/// <summary>One engine with one model, alone in its process. All times are seconds of the wall clock.</summary>
internal interface IContender : IDisposable
{
    /// <summary>What runs, for people.</summary>
    string Describe();

    /// <summary>Runs a prompt from empty, then greedy steps after it.</summary>
    (double Prefill, double Decode) Generate(int[] prompt, int steps);

    /// <summary>Greedy steps of one sequence that already has so many tokens.</summary>
    double DecodeAt(int context, int steps);

    /// <summary>Greedy steps of so many sequences together, each after a prompt of its own of so many tokens.</summary>
    double DecodeTogether(int sequences, int prompt, int steps);

    /// <summary>(vocabulary): of the prompt's last position.</summary>
    float[] Logits(int[] prompt);

    /// <summary>Bytes allocated on the managed heap per decode step: of the step itself, and of the whole way to the caller. Null: none.</summary>
    (double Step, double Streamed)? Allocations();
}
