namespace KvCuda.Backends;

/// <summary>
/// Pinned host memory and copies to and from it. Copies run in their own order, behind the verbs queued before them; verbs
/// queued later do not wait for them unless <see cref="WaitFor"/> says so. Only a backend whose memory is not the host's
/// has it.
/// </summary>
internal interface IHostTier
{
    /// <summary>Host memory for the copies below, alive until the backend's disposal.</summary>
    /// <exception cref="DeviceException">The host cannot pin that many bytes.</exception>
    nint AllocateHost(long bytes);

    /// <summary>Queues host = source.</summary>
    /// <param name="host">in memory of <see cref="AllocateHost"/></param>
    /// <param name="source">what verbs read and write</param>
    /// <param name="bytes">how many</param>
    void CopyToHost(nint host, nint source, long bytes);

    /// <summary>Queues destination = host.</summary>
    void CopyFromHost(nint destination, nint host, long bytes);

    /// <summary>Names the copies queued so far by a number, which is not below the last one given.</summary>
    void Fence(long number);

    /// <summary>Verbs queued from now on run after the copies up to the first fence of this number or a higher one.</summary>
    void WaitFor(long number);
}
