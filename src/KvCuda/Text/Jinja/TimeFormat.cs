using System.Globalization;
using System.Text;

namespace KvCuda.Text.Jinja;

/// <summary>strftime, in English.</summary>
static class TimeFormat
{
    public static string Apply(string format, DateTimeOffset time)
    {
        var text = new StringBuilder();
        for (int i = 0; i < format.Length; i++)
        {
            if (format[i] != '%' || i + 1 == format.Length)
            {
                text.Append(format[i]);
                continue;
            }

            bool bare = format[++i] == '-' && i + 1 < format.Length; // %-d: no leading zero
            char kind = bare ? format[++i] : format[i];
            string? one = One(kind, time);
            if (one is null)
            {
                throw new UnsupportedException($"the time format %{kind}");
            }

            text.Append(bare ? one.TrimStart('0') is { Length: > 0 } trimmed ? trimmed : "0" : one);
        }

        return text.ToString();
    }

    static string? One(char kind, DateTimeOffset time) => kind switch
    {
        'd' => Net("dd", time),
        'e' => time.Day.ToString(CultureInfo.InvariantCulture).PadLeft(2),
        'm' => Net("MM", time),
        'y' => Net("yy", time),
        'Y' => Net("yyyy", time),
        'b' or 'h' => Net("MMM", time),
        'B' => Net("MMMM", time),
        'a' => Net("ddd", time),
        'A' => Net("dddd", time),
        'H' => Net("HH", time),
        'I' => Net("hh", time),
        'M' => Net("mm", time),
        'S' => Net("ss", time),
        'f' => Net("ffffff", time),
        'p' => time.Hour < 12 ? "AM" : "PM",
        'j' => time.DayOfYear.ToString("000", CultureInfo.InvariantCulture),
        'F' => Net("yyyy-MM-dd", time),
        'T' => Net("HH:mm:ss", time),
        'R' => Net("HH:mm", time),
        'D' => Net("MM/dd/yy", time),
        'w' => ((int)time.DayOfWeek).ToString(CultureInfo.InvariantCulture),
        'u' => (((int)time.DayOfWeek + 6) % 7 + 1).ToString(CultureInfo.InvariantCulture),
        '%' => "%",
        _ => null,
    };

    static string Net(string format, DateTimeOffset time) =>
        time.ToString(format.Length == 1 ? "%" + format : format, CultureInfo.InvariantCulture);
}
