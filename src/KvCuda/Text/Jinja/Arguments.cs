namespace KvCuda.Text.Jinja;

/// <summary>The arguments of a call, taken one by one by position or name; what is left over is an error.</summary>
sealed class Arguments(string function, List<object?> positional, Dictionary<string, object?> named)
{
    readonly HashSet<string> taken = new(StringComparer.Ordinal);
    int at;

    public string FunctionName => function;

    public bool TryTake(string name, out object? value)
    {
        if (at < positional.Count)
        {
            value = positional[at++];
            return true;
        }

        taken.Add(name);
        return named.TryGetValue(name, out value);
    }

    /// <summary>Takes an argument that can only be given by name.</summary>
    public bool TryTakeNamed(string name, out object? value)
    {
        taken.Add(name);
        return named.TryGetValue(name, out value);
    }

    public object? Take(string name) =>
        TryTake(name, out object? value) ? value : throw new RenderException($"{function} lacks its argument \"{name}\"");

    public object? Take(string name, object? absent) => TryTake(name, out object? value) ? value : absent;

    public string TakeString(string name) => Take(name) is string s
        ? s : throw new RenderException($"{function}: \"{name}\" is not a str");

    public string? TakeString(string name, string? absent) => Take(name, absent) switch
    {
        null => null,
        string s => s,
        object other => throw new RenderException($"{function}: \"{name}\" is a {Py.TypeName(other)}, not a str"),
    };

    public long TakeLong(string name, long absent) => Py.ToLong(Take(name, absent));

    /// <summary>All positional arguments that are left.</summary>
    public List<object?> TakeRest()
    {
        List<object?> rest = positional[at..];
        at = positional.Count;
        return rest;
    }

    /// <summary>All named arguments that are left.</summary>
    public Dictionary<string, object?> TakeNamed()
    {
        var rest = named.Where(n => taken.Add(n.Key)).ToDictionary(StringComparer.Ordinal);
        return rest;
    }

    public void ExpectNoMore()
    {
        if (at < positional.Count)
        {
            throw new RenderException($"{function} takes no more than {at} arguments here");
        }

        foreach (string name in named.Keys)
        {
            if (!taken.Contains(name))
            {
                throw new UnsupportedException($"{function} with the argument \"{name}\"");
            }
        }
    }
}
