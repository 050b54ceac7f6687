using System.Diagnostics.Metrics;
using System.Globalization;
using System.Text;
using KvCuda.Extensions;

namespace KvCuda.Server;

/// <summary>
/// The instruments of the meter <see cref="KvCudaTelemetry.Name"/> in Prometheus' text format (version 0.0.4), with the names that OpenTelemetry's exporters give
/// them: dots are underscores, units and <c>total</c> are suffixes.
/// </summary>
sealed class PrometheusText : IDisposable
{
    /// <summary>Time series of one instrument; more (there are none here) are not kept.</summary>
    const int MostSeries = 256;

    sealed class Series(int buckets)
    {
        public readonly long[] Counts = new long[buckets + 1]; // per bucket, the last without a bound
        public double Value;
    }

    sealed class Family(string name, string type, string help, double[] bounds)
    {
        public string Name => name;
        public string Type => type;
        public string Help => help;
        public double[] Bounds => bounds;
        public SortedDictionary<string, Series> Series { get; } = new(StringComparer.Ordinal); // by labels, as they are written
    }

    readonly Lock gate = new();
    readonly SemaphoreSlim one = new(1);
    readonly Dictionary<Instrument, Family> families = [];
    readonly MeterListener listener = new();

    /// <param name="meters">whose meters; others in the process are not heard</param>
    public PrometheusText(IMeterFactory meters)
    {
        listener.InstrumentPublished = (instrument, self) =>
        {
            if (instrument.Meter.Name == KvCudaTelemetry.Name && ReferenceEquals(instrument.Meter.Scope, meters))
            {
                lock (gate)
                {
                    families[instrument] = Describe(instrument);
                }
                self.EnableMeasurementEvents(instrument);
            }
        };
        listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) => Take(instrument, value, tags));
        listener.SetMeasurementEventCallback<int>((instrument, value, tags, _) => Take(instrument, value, tags));
        listener.SetMeasurementEventCallback<double>((instrument, value, tags, _) => Take(instrument, value, tags));
        listener.Start();
    }

    public void Dispose()
    {
        listener.Dispose();
        one.Dispose();
    }

    /// <summary>Everything as it is now.</summary>
    public async Task<string> WriteAsync(CancellationToken cancellation)
    {
        await one.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            return await Task.Run(Write, CancellationToken.None).ConfigureAwait(false); // observing waits for the engine's step
        }
        finally
        {
            one.Release();
        }
    }

    /// <summary>The counts of a histogram, of all its series together.</summary>
    public HistogramSums Sums(string name)
    {
        lock (gate)
        {
            HistogramSums? all = null;
            foreach (Family family in families.Values.Where(family => family.Name == name && family.Type == "histogram"))
            {
                long[] counts = all?.Counts ?? new long[family.Bounds.Length + 1];
                foreach (Series series in family.Series.Values)
                {
                    for (int i = 0; i < Math.Min(counts.Length, series.Counts.Length); i++)
                    {
                        counts[i] += series.Counts[i];
                    }
                }
                all = new(family.Bounds, counts);
            }
            return all ?? HistogramSums.None;
        }
    }

    string Write()
    {
        lock (gate)
        {
            foreach ((Instrument instrument, Family family) in families)
            {
                if (instrument.IsObservable)
                {
                    family.Series.Clear(); // what is not observed any more is not there
                }
            }
        }
        listener.RecordObservableInstruments();
        StringBuilder text = new();
        lock (gate)
        {
            foreach (IGrouping<string, Family> same in families.Values.Where(family => family.Series.Count > 0).GroupBy(family => family.Name).OrderBy(group => group.Key, StringComparer.Ordinal))
            {
                Family first = same.First();
                text.Append("# HELP ").Append(first.Name).Append(' ').Append(first.Help).Append('\n');
                text.Append("# TYPE ").Append(first.Name).Append(' ').Append(first.Type).Append('\n');
                foreach (Family family in same)
                {
                    foreach ((string labels, Series series) in family.Series)
                    {
                        Write(text, family, labels, series);
                    }
                }
            }
        }
        return text.ToString();
    }

    static void Write(StringBuilder text, Family family, string labels, Series series)
    {
        if (family.Type != "histogram")
        {
            Line(family.Name, labels, series.Value);
            return;
        }
        long count = 0;
        for (int i = 0; i < series.Counts.Length; i++)
        {
            count += series.Counts[i];
            string bound = i < family.Bounds.Length ? family.Bounds[i].ToString(CultureInfo.InvariantCulture) : "+Inf";
            Line(family.Name + "_bucket", $"{labels}{(labels.Length > 0 ? "," : "")}le=\"{bound}\"", count);
        }
        Line(family.Name + "_sum", labels, series.Value);
        Line(family.Name + "_count", labels, count);

        void Line(string name, string with, double value)
        {
            text.Append(name);
            if (with.Length > 0)
            {
                text.Append('{').Append(with).Append('}');
            }
            text.Append(' ').Append(value.ToString("R", CultureInfo.InvariantCulture)).Append('\n');
        }
    }

    void Take(Instrument instrument, double value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        string labels = Labels(tags);
        lock (gate)
        {
            if (!families.TryGetValue(instrument, out Family? family))
            {
                return;
            }
            if (!family.Series.TryGetValue(labels, out Series? series))
            {
                if (family.Series.Count >= MostSeries)
                {
                    return;
                }
                family.Series[labels] = series = new(family.Bounds.Length);
            }
            if (family.Type == "histogram")
            {
                int bucket = Array.BinarySearch(family.Bounds, value);
                series.Counts[bucket < 0 ? ~bucket : bucket]++;
            }
            // Observed values are totals; those of counters and histograms add up.
            series.Value = instrument.IsObservable ? value : series.Value + value;
        }
    }

    static Family Describe(Instrument instrument)
    {
        Type kind = instrument.GetType().GetGenericTypeDefinition();
        string type = kind == typeof(Histogram<>) ? "histogram" : kind == typeof(Counter<>) || kind == typeof(ObservableCounter<>) ? "counter" : "gauge";
        string name = instrument.Name.Replace('.', '_') + instrument.Unit switch
        {
            "s" => "_seconds",
            "By" => instrument.Name.EndsWith("bytes", StringComparison.Ordinal) ? "" : "_bytes",
            _ => "",
        } + (type == "counter" ? "_total" : "");
        double[] bounds = instrument switch
        {
            Histogram<double> histogram => [.. histogram.Advice?.HistogramBucketBoundaries ?? []],
            Histogram<long> histogram => [.. (histogram.Advice?.HistogramBucketBoundaries ?? []).Select(bound => (double)bound)],
            _ => [],
        };
        return new(name, type, (instrument.Description ?? "").ReplaceLineEndings(" "), bounds);
    }

    static string Labels(ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        StringBuilder labels = new();
        foreach ((string key, object? value) in tags)
        {
            string text = Convert.ToString(value, CultureInfo.InvariantCulture) ?? "";
            labels.Append(labels.Length > 0 ? "," : "").Append(key.Replace('.', '_')).Append("=\"")
                .Append(text.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal))
                .Append('"');
        }
        return labels.ToString();
    }
}
