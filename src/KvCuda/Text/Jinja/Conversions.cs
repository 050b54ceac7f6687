using System.Globalization;

namespace KvCuda.Text.Jinja;

/// <summary>The filters int, float and round.</summary>
static class Conversions
{
    public static object? Int(object? value, object? absent) => value switch
    {
        Undefined u => throw new RenderException($"{u.What} is undefined and is no number"),
        bool b => b ? 1L : 0L,
        long l => l,
        double d when double.IsFinite(d) && Math.Abs(d) < 9e18 => (long)d,
        string s when long.TryParse(s.Trim(), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long whole) => whole,
        string s when double.TryParse(s.Trim(), NumberStyles.Float, CultureInfo.InvariantCulture, out double d)
            && Math.Abs(d) < 9e18 => (long)d,
        _ => absent,
    };

    public static object? Float(object? value, object? absent) => value switch
    {
        Undefined u => throw new RenderException($"{u.What} is undefined and is no number"),
        bool or long or double => Py.ToDouble(value),
        string s when double.TryParse(s.Trim(), NumberStyles.Float, CultureInfo.InvariantCulture, out double d) => d,
        _ => absent,
    };

    public static object? Round(object? value, Arguments arguments, RenderContext context)
    {
        long precision = Math.Clamp(arguments.TakeLong("precision", 0), 0, 15);
        string method = arguments.TakeString("method", "common")!;
        double number = Py.ToDouble(value), scale = Math.Pow(10, precision);
        return method switch
        {
            "common" => value is long or bool ? (object)Py.ToLong(value) : Math.Round(number, (int)precision, MidpointRounding.ToEven),
            "ceil" => Math.Ceiling(number * scale) / scale,
            "floor" => Math.Floor(number * scale) / scale,
            _ => throw new RenderException("round: the method is common, ceil or floor"),
        };
    }
}
