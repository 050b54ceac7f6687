// GET /v1/kvcuda/events: what the engine is doing, once a second, for the page.
using System.Buffers;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using KvCuda.Engine;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace KvCuda.Server;

/// <summary>
/// The engine as server-sent events (WHATWG HTML, 9.2): first all of it, then what changed. While nobody reads, nothing is done. Only the operator's key
/// sees it; texts of other salts than his own are never told.
/// </summary>
sealed class LiveEvents(KvServerOptions options, Guard guard, ModelSource model, LiveMonitor monitor, Admission admission, CancellationToken cut)
{
    /// <summary>Cells that the arena is drawn in at most; more slabs are put together.</summary>
    const int MostCells = 1024;

    const int MostViewers = 16;

    public async Task StreamAsync(HttpContext context)
    {
        string salt = guard.AuthenticateOperator(context.Request);
        (KvEngine engine, _) = model.Get();
        if (monitor.Viewers >= MostViewers)
        {
            throw ModelSource.Unavailable($"{MostViewers} viewers watch already.", "too_many_viewers");
        }
        using IDisposable watching = monitor.Watch();
        using CancellationTokenSource ended = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, cut);
        context.Response.ContentType = "text/event-stream; charset=utf-8";
        context.Response.Headers["X-Accel-Buffering"] = "no";
        context.Features.Get<IHttpResponseBodyFeature>()?.DisableBuffering();
        string[] drawn = [];
        using Utf8JsonWriter json = new(context.Response.BodyWriter, JsonResponse.Options);
        try
        {
            for (bool first = true; !ended.IsCancellationRequested && !model.IsStopping; first = false)
            {
                KvPicture picture = await engine.GetPictureAsync().WaitAsync(ended.Token).ConfigureAwait(false);
                string[] cells = Cells(picture);
                context.Response.BodyWriter.Write("data: "u8);
                json.Reset(context.Response.BodyWriter);
                json.WriteStartObject();
                if (first)
                {
                    WriteModel(json, engine, picture);
                }
                WriteArena(json, cells, first ? [] : drawn);
                WriteNow(json, picture, salt, engine);
                json.WriteEndObject();
                json.Flush();
                context.Response.BodyWriter.Write("\n\n"u8);
                await context.Response.BodyWriter.FlushAsync(ended.Token).ConfigureAwait(false);
                drawn = cells;
                await Task.Delay(TimeSpan.FromSeconds(1), ended.Token).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException) when (!context.RequestAborted.IsCancellationRequested)
        {
            // The server stops: the stream is over.
        }
    }

    void WriteModel(Utf8JsonWriter json, KvEngine engine, KvPicture picture)
    {
        json.WriteStartObject("model");
        json.WriteString("id", model.Id);
        json.WriteString("device", engine.Device);
        json.WriteString("sharing", engine.Sharing.ToString());
        json.WriteNumber("context", engine.MaxContext);
        json.WriteNumber("page_tokens", picture.PageTokens);
        json.WriteNumber("slab_bytes", picture.SlabBytes);
        json.WriteNumber("slabs", picture.Slabs.Count);
        json.WriteNumber("slabs_per_cell", PerCell(picture));
        json.WriteNumber("max_sequences", options.Engine.MaxSequences);
        json.WriteNumber("places", admission.Most);
        json.WriteStartArray("reads");
        foreach (int owner in picture.Reads)
        {
            json.WriteNumberValue(owner);
        }
        json.WriteEndArray();
        json.WriteStartArray("bytes_per_token");
        foreach (long bytes in picture.BytesPerToken)
        {
            json.WriteNumberValue(bytes);
        }
        json.WriteEndArray();
        json.WriteStartArray("kinds");
        foreach (KvPictureKind kind in picture.Kinds)
        {
            json.WriteStartObject();
            json.WriteNumber("window", kind.Window);
            json.WriteNumber("page_bytes", kind.PageBytes);
            json.WriteNumber("pages_per_slab", kind.PagesPerSlab);
            json.WriteNumber("layers", kind.Layers.Count);
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteEndObject();
    }

    static int PerCell(KvPicture picture) => (picture.Slabs.Count + MostCells - 1) / MostCells;

    // A cell: its kind (- where no slab of it is cut), and a digit per page; of several slabs the commonest state of each place.
    static string[] Cells(KvPicture picture) => [.. picture.Slabs.Chunk(Math.Max(1, PerCell(picture))).Select(slabs =>
    {
        KvPictureSlab[] cut = [.. slabs.Where(slab => slab.Kind >= 0)];
        if (cut.Length == 0)
        {
            return "-";
        }
        StringBuilder cell = new();
        cell.Append((char)('a' + cut[0].Kind % 26));
        for (int page = 0; page < cut.Max(slab => slab.Pages.Count); page++)
        {
            cell.Append((char)('0' + (cut.Length == 1 ? cut[0].Pages[page]
                : cut.Where(slab => page < slab.Pages.Count).GroupBy(slab => slab.Pages[page]).MaxBy(same => same.Count())!.Key)));
        }
        return cell.ToString();
    })];

    // Those that changed, by their numbers.
    static void WriteArena(Utf8JsonWriter json, string[] cells, string[] drawn)
    {
        json.WriteStartObject("cells");
        for (int i = 0; i < cells.Length; i++)
        {
            if (i >= drawn.Length || cells[i] != drawn[i])
            {
                json.WriteString(i.ToString(System.Globalization.CultureInfo.InvariantCulture), cells[i]);
            }
        }
        json.WriteEndObject();
    }

    void WriteNow(Utf8JsonWriter json, KvPicture picture, string salt, KvEngine engine)
    {
        KvStatus now = picture.Status;
        lock (monitor.Figures)
        {
            LiveFigures minute = monitor.Figures;
            json.WriteStartObject("now");
            json.WriteNumber("running", now.RunningRequests);
            json.WriteNumber("waiting", now.WaitingRequests);
            json.WriteNumber("inside", admission.Inside);
            json.WriteNumber("steps", now.Steps);
            foreach ((string name, long bytes) in ((string, long)[])[("arena", now.ArenaBytes), ("free", now.FreeBytes), ("active", now.ActiveBytes),
                ("cached", now.CachedBytes), ("pinned", now.PinnedBytes), ("host", now.HostArenaBytes), ("host_cached", now.HostCachedBytes)])
            {
                json.WriteNumber(name, bytes);
            }
            json.WriteNumber("fragmentation", now.Fragmentation);
            json.WriteNumber("prompt_computed", now.ComputedPromptTokens);
            json.WriteNumber("generated", now.GeneratedTokens);
            json.WriteNumber("queried", now.QueriedTokens);
            json.WriteNumber("found", now.FoundTokens);
            json.WriteNumber("found_session", now.FoundInSession);
            json.WriteNumber("found_shared", now.FoundShared);
            json.WriteNumber("found_pinned", now.FoundPinned);
            json.WriteNumber("found_restored", now.FoundRestored);
            json.WriteNumber("saved_seconds", Math.Round(now.SavedSeconds, 3));
            json.WriteNumber("evicted_room", now.EvictedForRoom);
            json.WriteNumber("evicted_expired", now.EvictedExpired);
            json.WriteNumber("evicted_cleared", now.EvictedCleared);
            json.WriteNumber("preemptions", now.Preemptions);
            Maybe(json, "hit_rate_minute", minute.HitRate());
            Histogram(json, "first_token", minute.FirstToken);
            Histogram(json, "inter_token", minute.InterToken);
            json.WriteEndObject();
            json.WriteStartArray("advice");
            foreach (string advice in Advice.Of(minute, picture, options))
            {
                json.WriteStringValue(advice);
            }
            json.WriteEndArray();
        }
        json.WriteStartArray("alerts");
        foreach (KvAlert alert in monitor.Alerts.Now())
        {
            json.WriteStartObject();
            json.WriteString("name", alert.Rule.Name);
            json.WriteBoolean("raised", alert.Raised);
            json.WriteNumber("value", Math.Round(alert.Value, 4));
            json.WriteNumber("raise", alert.Rule.Raise);
            json.WriteNumber("clear", alert.Rule.Clear);
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteStartArray("branches");
        foreach (KvPictureBranch branch in picture.Branches)
        {
            json.WriteStartObject();
            json.WriteString("tenant", Tenant(branch.Salt));
            json.WriteNumber("trunk", branch.TrunkTokens);
            json.WriteNumber("tokens", branch.Tokens);
            json.WriteNumber("ends", branch.Branches);
            json.WriteNumber("hits", branch.Hits);
            json.WriteNumber("pinned", branch.Pinned);
            if (branch.Salt == salt)
            {
                json.WriteString("text", engine.Tokenizer!.Decode(branch.FirstTokens) is var text && text.Length > 120 ? text[..120] : text);
            }
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteStartArray("requests");
        foreach (KvPictureRequest request in picture.Requests.Take(64))
        {
            json.WriteStartObject();
            json.WriteNumber("id", request.Id);
            json.WriteString("tenant", Tenant(request.Salt));
            json.WriteNumber("age", Math.Round(request.Age.TotalSeconds, 2));
            json.WriteString("state", request.State);
            json.WriteNumber("prompt", request.PromptTokens);
            json.WriteNumber("cached", request.CachedTokens);
            json.WriteNumber("computed", request.ComputedTokens);
            json.WriteNumber("generated", request.GeneratedTokens);
            json.WriteNumber("bytes", request.Bytes);
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteNumber("requests_in_all", picture.Requests.Count);
    }

    static void Maybe(Utf8JsonWriter json, string name, double? value)
    {
        if (value is { } number && double.IsFinite(number))
        {
            json.WriteNumber(name, number);
        }
        else
        {
            json.WriteNull(name);
        }
    }

    static void Histogram(Utf8JsonWriter json, string name, HistogramSums sums)
    {
        json.WriteStartObject(name);
        Maybe(json, "p50", sums.Quantile(0.5));
        Maybe(json, "p95", sums.Quantile(0.95));
        Maybe(json, "p99", sums.Quantile(0.99));
        json.WriteStartArray("bounds");
        foreach (double bound in sums.Bounds)
        {
            json.WriteNumberValue(bound);
        }
        json.WriteEndArray();
        json.WriteStartArray("counts");
        foreach (long count in sums.Counts)
        {
            json.WriteNumberValue(count);
        }
        json.WriteEndArray();
        json.WriteEndObject();
    }

    // Who is who can be told apart, and not who it is.
    static string Tenant(string salt) => salt.Length == 0 ? "" : Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(salt)))[..6];
}
