namespace KvCuda.Backends;

/// <summary>A pass whose shapes repeat is recorded once and then queued by one call.</summary>
internal interface IRecorder
{
    /// <summary>
    /// Queues the pass recorded under the key again, with its shapes and addresses; what lies at the addresses is read
    /// anew. False if there is none; then walk the pass between <see cref="BeginRecording"/> and <see cref="EndRecording"/>.
    /// </summary>
    /// <param name="key">stands for everything that decides which verbs run on which shapes and addresses</param>
    bool Replay(int key);

    /// <summary>
    /// The verbs up to <see cref="EndRecording"/> are one pass and may be kept under the key. They run once, at the latest
    /// then. No memory is made, freed, written or read in between, and no number that the host passes to a verb differs
    /// between passes of one key.
    /// </summary>
    void BeginRecording(int key);

    /// <summary>Ends what <see cref="BeginRecording"/> began.</summary>
    void EndRecording();

    /// <summary>
    /// The number of rows, at least <paramref name="rows"/>, to which a pass is padded so that few recordings serve all
    /// batch sizes.
    /// </summary>
    int BucketOf(int rows);
}
