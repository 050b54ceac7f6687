namespace KvCuda.Text.Jinja;

// Values are null (None), bool, long, double, string, Sequence, Dict, Undefined, Namespace, or an IJinjaCallable.

/// <summary>What a name stands for that was never set: empty when printed or walked through, an error when used otherwise.</summary>
sealed class Undefined(string what)
{
    public string What => what;
}

/// <summary>A list or a tuple; never changed once made.</summary>
class Sequence(List<object?> items, bool isTuple = false)
{
    public List<object?> Items => items;

    public bool IsTuple => isTuple;
}

/// <summary>What groupby gives: a pair whose halves have names.</summary>
sealed class Group(object? grouper, Sequence list) : Sequence([grouper, list], isTuple: true);

/// <summary>A dictionary that remembers the order in which its keys came.</summary>
sealed class Dict
{
    readonly Dictionary<object, int> index = new(ValueComparer.Instance);
    readonly List<KeyValuePair<object?, object?>> entries = [];

    public int Count => entries.Count;

    public IReadOnlyList<KeyValuePair<object?, object?>> Entries => entries;

    public bool TryGet(object? key, out object? value)
    {
        bool found = index.TryGetValue(key ?? DBNull.Value, out int at);
        value = found ? entries[at].Value : null;
        return found;
    }

    public void Set(object? key, object? value)
    {
        if (key is Sequence { IsTuple: false } or Dict or Namespace)
        {
            throw new RenderException($"a {Py.TypeName(key)} cannot be a key of a dict");
        }

        if (index.TryGetValue(key ?? DBNull.Value, out int at))
        {
            entries[at] = new(entries[at].Key, value);
        }
        else
        {
            index[key ?? DBNull.Value] = entries.Count;
            entries.Add(new(key, value));
        }
    }
}

/// <summary>namespace(): the one thing whose attributes a template can set, also from within a loop.</summary>
sealed class Namespace
{
    public Dictionary<string, object?> Values { get; } = new(StringComparer.Ordinal);
}

/// <summary>Something that can be called.</summary>
interface IJinjaCallable
{
    object? Call(List<object?> arguments, Dictionary<string, object?> named, RenderContext context);
}

/// <summary>A method bound to its value, or a global function.</summary>
sealed class Function(Func<Arguments, RenderContext, object?> body, string name) : IJinjaCallable
{
    public object? Call(List<object?> arguments, Dictionary<string, object?> named, RenderContext context)
    {
        var all = new Arguments(name, arguments, named);
        object? result = body(all, context);
        all.ExpectNoMore();
        context.PayForResult(result);
        return result;
    }
}

/// <summary>Equality and hashing as Python has them: 1 == 1.0 == True.</summary>
sealed class ValueComparer : IEqualityComparer<object>
{
    public static readonly ValueComparer Instance = new();

    public new bool Equals(object? x, object? y) => Py.Equal(x is DBNull ? null : x, y is DBNull ? null : y);

    public int GetHashCode(object value) => GetHashCode(value, 0);

    static int GetHashCode(object value, int depth)
    {
        Account.Pay(1);
        switch (value)
        {
            case bool b:
                return (b ? 1.0 : 0.0).GetHashCode();
            case long l:
                return ((double)l).GetHashCode();
            case string s:
                Account.PayFor(s);
                return s.GetHashCode(StringComparison.Ordinal);
            case Sequence s when depth > 100:
                throw new RenderException("a key is nested too deeply");
            case Sequence s:
                int hash = 17;
                foreach (object? item in s.Items)
                {
                    hash = (hash * 31) + GetHashCode(item ?? DBNull.Value, depth + 1);
                }

                return hash;
            default:
                return value.GetHashCode();
        }
    }
}
