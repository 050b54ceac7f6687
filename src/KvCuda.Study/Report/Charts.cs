// Pictures of a study as SVG, drawn by OxyPlot; their colours are CSS variables, so that a page can be light or dark.
using System.Globalization;
using System.Net;
using System.Text;
using System.Text.RegularExpressions;
using OxyPlot;
using OxyPlot.Axes;
using OxyPlot.Series;

namespace KvCuda.Study;

/// <summary>Line and scatter charts.</summary>
internal static partial class Charts
{
    // Two colours that nothing else has: they become the page's own.
    static readonly OxyColor ink = OxyColor.FromRgb(1, 2, 3), faint = OxyColor.FromRgb(3, 2, 1);

    static readonly OxyColor[] palette =
    [
        OxyColor.FromRgb(0x2f, 0x7e, 0xd8), OxyColor.FromRgb(0xe0, 0x6c, 0x1f), OxyColor.FromRgb(0x2c, 0x9c, 0x5a), OxyColor.FromRgb(0xb0, 0x4f, 0xc4),
        OxyColor.FromRgb(0xc9, 0x9a, 0x14), OxyColor.FromRgb(0x1b, 0xa3, 0xb5), OxyColor.FromRgb(0xd6, 0x4a, 0x6b), OxyColor.FromRgb(0x7a, 0x80, 0x8c),
    ];

    /// <summary>One line of a chart.</summary>
    /// <param name="Name">in the legend; empty: not there</param>
    /// <param name="Points">x, y</param>
    /// <param name="Color">number in the palette</param>
    /// <param name="Dashed">a model's line, not a measured one</param>
    /// <param name="Markers">points only, hollow or filled</param>
    public sealed record Line(string Name, IReadOnlyList<(double X, double Y)> Points, int Color, bool Dashed = false, Marker Markers = Marker.None);

    public enum Marker { None, Filled, Hollow, FilledWithLine }

    /// <summary>A chart as an SVG element.</summary>
    public static string Draw(string x, string y, IReadOnlyList<Line> lines, bool logX = false, bool fromZero = true)
    {
        var plot = new PlotModel
        {
            Background = OxyColors.Undefined, PlotAreaBorderColor = faint, TextColor = ink, DefaultFontSize = 12, PlotAreaBorderThickness = new(1, 0, 0, 1),
        };
        plot.Axes.Add(logX ? new LogarithmicAxis { Base = 2 } : new LinearAxis());
        plot.Axes.Add(new LinearAxis());
        (plot.Axes[0].Position, plot.Axes[0].Title, plot.Axes[1].Position, plot.Axes[1].Title) = (AxisPosition.Bottom, x, AxisPosition.Left, y);
        foreach (Axis axis in plot.Axes)
        {
            (axis.MajorGridlineStyle, axis.MajorGridlineColor, axis.TicklineColor, axis.TextColor, axis.TitleColor) =
                (LineStyle.Solid, OxyColor.FromAColor(60, faint), faint, ink, ink);
            axis.MinorTickSize = 0;
            axis.AxisTitleDistance = 14;
            axis.LabelFormatter = value => Math.Abs(value) >= 1000 ? value.ToString("#,0", CultureInfo.InvariantCulture) : value.ToString("0.###", CultureInfo.InvariantCulture);
        }
        if (fromZero)
        {
            plot.Axes[1].Minimum = 0;
        }
        plot.Axes[1].MaximumPadding = plot.Axes[0].MaximumPadding = plot.Axes[0].MinimumPadding = 0.06;
        plot.IsLegendVisible = false; // the page has one of its own, whose text wraps
        foreach (Line line in lines)
        {
            OxyColor color = palette[line.Color % palette.Length];
            if (line.Markers is Marker.Filled or Marker.Hollow)
            {
                var scatter = new ScatterSeries
                {
                    Title = line.Name.Length > 0 ? line.Name : null, MarkerType = MarkerType.Circle, MarkerSize = 5, MarkerStroke = color, MarkerStrokeThickness = 2,
                    MarkerFill = line.Markers == Marker.Filled ? color : OxyColors.Transparent, RenderInLegend = line.Name.Length > 0,
                };
                scatter.Points.AddRange(line.Points.Select(point => new ScatterPoint(point.X, point.Y)));
                plot.Series.Add(scatter);
                continue;
            }
            var series = new LineSeries
            {
                Title = line.Name, Color = color, StrokeThickness = 2, LineStyle = line.Dashed ? LineStyle.Dash : LineStyle.Solid, RenderInLegend = line.Name.Length > 0,
                MarkerType = line.Markers == Marker.FilledWithLine ? MarkerType.Circle : MarkerType.None, MarkerSize = 3, MarkerFill = color,
            };
            series.Points.AddRange(line.Points.Select(point => new DataPoint(point.X, point.Y)));
            plot.Series.Add(series);
        }
        string svg = new SvgExporter { Width = 520, Height = 380, UseVerticalTextAlignmentWorkaround = true, IsDocument = false }.ExportToString(plot);
        svg = Size().Replace(svg, "<svg viewBox=\"0 0 520 380\" role=\"img\" ", 1);
        StringBuilder legend = new("<p class=legend>");
        foreach (Line line in lines.Where(line => line.Name.Length > 0))
        {
            OxyColor color = palette[line.Color % palette.Length];
            string kind = line.Markers == Marker.Hollow ? "hollow" : line.Markers == Marker.Filled ? "dot" : line.Dashed ? "dash" : "line";
            legend.Append(CultureInfo.InvariantCulture, $"<span><i class={kind} style=\"--c:#{color.R:x2}{color.G:x2}{color.B:x2}\"></i>{WebUtility.HtmlEncode(line.Name)}</span>");
        }
        svg += legend.Append("</p>");
        return FontFamily().Replace(svg, "").Replace("rgb(1,2,3)", "currentColor", StringComparison.Ordinal)
            .Replace("rgb(3,2,1)", "var(--faint)", StringComparison.Ordinal);
    }

    [GeneratedRegex("<svg width=\"[^\"]*\" height=\"[^\"]*\" ")]
    private static partial Regex Size();

    [GeneratedRegex("font-family=\"[^\"]*\"")]
    private static partial Regex FontFamily();
}
