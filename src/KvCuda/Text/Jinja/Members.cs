using System.Text;

namespace KvCuda.Text.Jinja;

/// <summary>What stands behind a point or in brackets. Nothing here reaches .NET objects: there is no way out of the sandbox.</summary>
static class Members
{
    public static object? Attribute(object? value, string name)
    {
        Account.PayFor(name);
        return Find(value, name);
    }

    static object? Find(object? value, string name) => value switch
    {
        Undefined u => throw new RenderException($"{u.What} is undefined and has no '{name}'"),
        Loop loop => loop.Attribute(name),
        Namespace space => space.Values.TryGetValue(name, out object? item) ? item : Missing(value, name),
        Dict dict => DictMethod(dict, name) ?? (dict.TryGet(name, out object? item) ? item : Missing(value, name)),
        string text => (object?)StringMethods.Find(text, name) ?? Missing(value, name),
        Group group when name is "grouper" or "list" => group.Items[name == "list" ? 1 : 0],
        Sequence list => (object?)ListMethod(list, name) ?? Missing(value, name),
        Macro macro when name == "name" => macro.Name,
        JoinerOrCycler helper => helper.Attribute(name) ?? Missing(value, name),
        _ => Missing(value, name),
    };

    public static object? Item(object? value, object? key)
    {
        switch (value, key)
        {
            case (Undefined u, _):
                throw new RenderException($"{u.What} is undefined and has no '{Py.Str(key)}'");
            case (Dict dict, _):
                return dict.TryGet(key, out object? item) ? item
                    : key is string itsName && DictMethod(dict, itsName) is { } method ? method : Missing(value, Py.Str(key));
            case (Sequence list, bool or long):
                long at = Py.ToLong(key);
                at += at < 0 ? list.Items.Count : 0;
                return at >= 0 && at < list.Items.Count ? list.Items[(int)at] : Missing(value, Py.Str(key));
            case (string text, bool or long):
                List<object?> characters = Py.Iterate(text);
                long index = Py.ToLong(key);
                index += index < 0 ? characters.Count : 0;
                return index >= 0 && index < characters.Count ? characters[(int)index] : Missing(value, Py.Str(key));
            case (_, string name):
                return Attribute(value, name);
            default:
                return Missing(value, Py.Str(key));
        }
    }

    /// <summary>value[start:stop:step], as Python clamps it.</summary>
    public static object? Slice(object? value, long? start, long? stop, long? step)
    {
        if (value is Undefined u)
        {
            throw new RenderException($"{u.What} is undefined and cannot be sliced");
        }

        if (value is not (string or Sequence))
        {
            throw new RenderException($"a {Py.TypeName(value)} cannot be sliced");
        }

        List<object?> items = Py.Iterate(value);
        long by = step ?? 1, count = items.Count;
        if (by == 0)
        {
            throw new RenderException("a slice has a step of 0");
        }

        long low = by > 0 ? 0 : -1, high = by > 0 ? count : count - 1;
        long from = start is { } s ? Math.Clamp(s < 0 ? s + count : s, low, high) : by > 0 ? low : high;
        long to = stop is { } t ? Math.Clamp(t < 0 ? t + count : t, low, high) : by > 0 ? high : low;
        var picked = new List<object?>();
        for (long i = from; by > 0 ? i < to : i > to; i += by)
        {
            picked.Add(items[(int)i]);
            if (by > count || by < -count)
            {
                break;
            }
        }

        return value is string ? string.Concat(picked.Cast<string>()) : new Sequence(picked, ((Sequence)value).IsTuple);
    }

    static Undefined Missing(object? value, string name) => new($"'{Py.TypeName(value)}' has no '{name}', so it");

    static Function? DictMethod(Dict dict, string name) => name switch
    {
        "items" => new Function((_, context) => Items(dict, context), "items"),
        "keys" => new Function((_, _) => new Sequence(dict.Entries.Select(e => e.Key).ToList()), "keys"),
        "values" => new Function((_, _) => new Sequence(dict.Entries.Select(e => e.Value).ToList()), "values"),
        "get" => new Function((a, _) =>
        {
            object? key = a.Take("key");
            object? absent = a.Take("default", null);
            return dict.TryGet(key, out object? value) ? value : absent;
        }, "get"),
        "copy" => new Function((_, _) => dict, "copy"),
        "clear" or "pop" or "popitem" or "setdefault" or "update" =>
            new Function((_, _) => throw new RenderException($"dict.{name} would change its dict, which templates may not"), name),
        _ => null,
    };

    public static Sequence Items(Dict dict, RenderContext context)
    {
        context.Pay(dict.Count);
        return new Sequence(dict.Entries.Select(e => (object?)new Sequence([e.Key, e.Value], isTuple: true)).ToList());
    }

    static Function? ListMethod(Sequence list, string name) => name switch
    {
        "index" => new Function((a, _) =>
        {
            object? value = a.Take("value");
            int at = list.Items.FindIndex(i => Py.Equal(i, value));
            return at >= 0 ? (long)at : throw new RenderException($"{Py.Repr(value)} is not in the list");
        }, "index"),
        "count" => new Function((a, _) =>
        {
            object? value = a.Take("value");
            return (long)list.Items.Count(i => Py.Equal(i, value));
        }, "count"),
        "copy" when !list.IsTuple => new Function((_, _) => list, "copy"),
        "append" or "clear" or "pop" or "reverse" or "insert" or "sort" or "extend" or "remove" when !list.IsTuple =>
            new Function((_, _) => throw new RenderException($"list.{name} would change its list, which templates may not"), name),
        _ => null,
    };
}
