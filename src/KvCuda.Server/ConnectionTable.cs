// Who is connected: an idle connection makes room for a new one, and nobody keeps a place without asking for something.
using System.Buffers;
using System.Net;
using Microsoft.AspNetCore.Connections;

namespace KvCuda.Server;

/// <summary>
/// The open connections. When there are as many as there may be, the one that has been idle longest goes, of the address that has most: who holds places
/// without using them does not keep others out. Where none is idle, a few further connections are let in that only probes are answered on.
/// </summary>
/// <param name="most">connections that requests are answered on</param>
/// <param name="patience">how long a new connection may send nothing</param>
sealed class ConnectionTable(int most, TimeSpan patience)
{
    /// <summary>Connections beside those, for probes.</summary>
    public const int Reserved = 16;

    /// <summary>One connection; a request finds it among its features.</summary>
    public sealed class Entry(ConnectionContext connection, IPAddress? address, bool probesOnly)
    {
        int requests;
        long since = Environment.TickCount64;

        public ConnectionContext Connection => connection;

        public IPAddress? Address => address;

        /// <summary>It came when all places were taken by others at work.</summary>
        public bool ProbesOnly => probesOnly;

        public bool Leaving { get; set; }

        public bool IsIdle => Volatile.Read(ref requests) == 0;

        public long IdleSince => Volatile.Read(ref since);

        public void Begin() => Interlocked.Increment(ref requests);

        public void End()
        {
            Volatile.Write(ref since, Environment.TickCount64);
            Interlocked.Decrement(ref requests);
        }
    }

    readonly Lock gate = new();
    readonly List<Entry> entries = [];

    /// <summary>The life of a connection.</summary>
    public async Task ServeAsync(ConnectionContext connection, ConnectionDelegate next)
    {
        if (Enter(connection) is not { } entry)
        {
            connection.Abort();
            return;
        }
        try
        {
            connection.Features.Set(entry);
            if (await SpeaksAsync(connection).ConfigureAwait(false))
            {
                await next(connection).ConfigureAwait(false);
            }
            else
            {
                connection.Abort();
            }
        }
        finally
        {
            lock (gate)
            {
                entries.Remove(entry);
            }
        }
    }

    Entry? Enter(ConnectionContext connection)
    {
        IPAddress? address = (connection.RemoteEndPoint as IPEndPoint)?.Address;
        Entry? victim = null, entry = null;
        lock (gate)
        {
            bool full = Here(probesOnly: false) >= most;
            victim = full ? Idle(probesOnly: false) : null;
            bool probes = full && victim is null;
            if (probes && Here(probesOnly: true) >= Reserved)
            {
                victim = Idle(probesOnly: true);
            }
            if (!probes || victim is not null || Here(probesOnly: true) < Reserved)
            {
                entries.Add(entry = new(connection, address, probes));
            }
            if (victim is not null)
            {
                victim.Leaving = true;
            }
        }
        victim?.Connection.Abort();
        return entry;
    }

    int Here(bool probesOnly) => entries.Count(entry => entry.ProbesOnly == probesOnly && !entry.Leaving);

    // Idle for longest, of the address that has most.
    Entry? Idle(bool probesOnly) => entries.Where(entry => entry is { IsIdle: true, Leaving: false } && entry.ProbesOnly == probesOnly)
        .GroupBy(entry => entry.Address).MaxBy(same => same.Count())?.MinBy(entry => entry.IdleSince);

    // Whether the first byte came in time; it is left where it is.
    async Task<bool> SpeaksAsync(ConnectionContext connection)
    {
        using CancellationTokenSource deadline = CancellationTokenSource.CreateLinkedTokenSource(connection.ConnectionClosed);
        deadline.CancelAfter(patience);
        try
        {
            System.IO.Pipelines.ReadResult read = await connection.Transport.Input.ReadAsync(deadline.Token).ConfigureAwait(false);
            bool speaks = !read.Buffer.IsEmpty;
            connection.Transport.Input.AdvanceTo(read.Buffer.Start, read.Buffer.Start);
            return speaks;
        }
        catch (Exception error) when (error is OperationCanceledException or IOException)
        {
            return false;
        }
    }
}
