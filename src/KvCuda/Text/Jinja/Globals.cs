namespace KvCuda.Text.Jinja;

/// <summary>The functions every template can call.</summary>
static class Globals
{
    const int MaxRange = 1_000_000;

    static readonly Dictionary<string, object?> All = new(StringComparer.Ordinal)
    {
        ["range"] = new Function(Range, "range"),
        ["dict"] = new Function((a, _) =>
        {
            var dict = new Dict();
            if (a.TakeRest() is { Count: > 0 } from)
            {
                foreach (object? pair in from[0] is Dict other ? Members.Items(other, null!).Items : Py.Iterate(from[0]))
                {
                    List<object?> both = Py.Iterate(pair);
                    dict.Set(both.Count == 2 ? both[0] : throw new RenderException("dict(..) needs pairs"), both[1]);
                }
            }

            foreach ((string key, object? value) in a.TakeNamed())
            {
                dict.Set(key, value);
            }

            return dict;
        }, "dict"),
        ["namespace"] = new Function((a, _) =>
        {
            var space = new Namespace();
            foreach (object? from in a.TakeRest())
            {
                foreach ((object? key, object? value) in (from as Dict
                    ?? throw new RenderException("namespace(..) takes a dict or names")).Entries)
                {
                    space.Values[Py.Str(key)] = value;
                }
            }

            foreach ((string key, object? value) in a.TakeNamed())
            {
                space.Values[key] = value;
            }

            return space;
        }, "namespace"),
        ["cycler"] = new Function((a, _) => JoinerOrCycler.Cycler(a.TakeRest()), "cycler"),
        ["joiner"] = new Function((a, _) => JoinerOrCycler.Joiner(a.TakeString("sep", ", ")!), "joiner"),
        ["raise_exception"] = new Function((a, _) => throw new RenderException(Py.Str(a.Take("message"))), "raise_exception"),
        ["strftime_now"] = new Function((a, c) => TimeFormat.Apply(a.TakeString("format"), c.Clock.GetLocalNow()), "strftime_now"),
    };

    public static bool TryGet(string name, out object? value) => All.TryGetValue(name, out value);

    static Sequence Range(Arguments arguments, RenderContext context)
    {
        long[] numbers = [.. arguments.TakeRest().Select(Py.ToLong)];
        (long start, long stop, long step) = numbers.Length switch
        {
            1 => (0, numbers[0], 1),
            2 => (numbers[0], numbers[1], 1),
            3 when numbers[2] != 0 => (numbers[0], numbers[1], numbers[2]),
            _ => throw new RenderException("range takes one to three numbers, the step not 0"),
        };
        var items = new List<object?>();
        for (long i = start; step > 0 ? i < stop : i > stop; i = checked(i + step))
        {
            if (items.Count == MaxRange)
            {
                throw new RenderException($"range(..) is longer than {MaxRange}");
            }

            items.Add(i);
        }

        context.Pay(items.Count);
        return new Sequence(items);
    }
}

/// <summary>cycler('odd', 'even') and joiner(', '): the two helpers that remember something.</summary>
sealed class JoinerOrCycler : IJinjaCallable
{
    readonly List<object?> items;
    readonly string? separator;
    int at;

    JoinerOrCycler(List<object?> items, string? separator)
    {
        this.items = items;
        this.separator = separator;
    }

    public static JoinerOrCycler Cycler(List<object?> items) =>
        items.Count > 0 ? new(items, null) : throw new RenderException("cycler needs something to cycle through");

    public static JoinerOrCycler Joiner(string separator) => new([], separator);

    public object? Call(List<object?> arguments, Dictionary<string, object?> named, RenderContext context) =>
        separator is null ? throw new RenderException("a cycler is not called; use .next()") : at++ == 0 ? "" : separator;

    public object? Attribute(string name) => separator is not null ? null : name switch
    {
        "current" => items[at],
        "next" => new Function((_, _) =>
        {
            object? item = items[at];
            at = (at + 1) % items.Count;
            return item;
        }, "next"),
        "reset" => new Function((_, _) =>
        {
            at = 0;
            return null;
        }, "reset"),
        _ => null,
    };
}
