namespace KvCuda.Text.Jinja;

/// <summary>What may stand behind "is".</summary>
static class Tests
{
    static readonly Dictionary<string, (int Arguments, Func<object?, object?, bool> Test)> All = new(StringComparer.Ordinal)
    {
        ["boolean"] = (0, (v, _) => v is bool),
        ["callable"] = (0, (v, _) => v is IJinjaCallable),
        ["defined"] = (0, (v, _) => v is not Undefined),
        ["divisibleby"] = (1, (v, a) => Py.ToLong(a) != 0 ? Py.ToLong(v) % Py.ToLong(a) == 0
            : throw new RenderException("nothing is divisible by zero")),
        ["eq"] = (1, (v, a) => Py.Equal(v, a)),
        ["equalto"] = (1, (v, a) => Py.Equal(v, a)),
        ["even"] = (0, (v, _) => Py.ToDouble(v) % 2 == 0),
        ["false"] = (0, (v, _) => v is false),
        ["filter"] = (0, (v, _) => v is string name && Filters.Knows(name)),
        ["float"] = (0, (v, _) => v is double),
        ["ge"] = (1, (v, a) => Py.Compare(v, a) >= 0),
        ["greaterthan"] = (1, (v, a) => Py.Compare(v, a) > 0),
        ["gt"] = (1, (v, a) => Py.Compare(v, a) > 0),
        ["in"] = (1, (v, a) => Py.Contains(a, v)),
        ["integer"] = (0, (v, _) => v is long),
        ["iterable"] = (0, (v, _) => v is string or Sequence or Dict or Undefined),
        ["le"] = (1, (v, a) => Py.Compare(v, a) <= 0),
        ["lessthan"] = (1, (v, a) => Py.Compare(v, a) < 0),
        ["lower"] = (0, (v, _) => Py.Str(v) is var s && s.Any(char.IsLetter) && s == s.ToLowerInvariant()),
        ["lt"] = (1, (v, a) => Py.Compare(v, a) < 0),
        ["mapping"] = (0, (v, _) => v is Dict),
        ["ne"] = (1, (v, a) => !Py.Equal(v, a)),
        ["none"] = (0, (v, _) => v is null),
        ["number"] = (0, (v, _) => Py.IsNumber(v)),
        ["odd"] = (0, (v, _) => Math.Abs(Py.ToDouble(v) % 2) == 1),
        ["sameas"] = (1, (v, a) => v is bool or null ? Equals(v, a) : Py.TypeName(v) == Py.TypeName(a) && Py.Equal(v, a)),
        ["sequence"] = (0, (v, _) => v is string or Sequence or Dict or Undefined),
        ["string"] = (0, (v, _) => v is string),
        ["test"] = (0, (v, _) => v is string name && Knows(name)),
        ["true"] = (0, (v, _) => v is true),
        ["undefined"] = (0, (v, _) => v is Undefined),
        ["upper"] = (0, (v, _) => Py.Str(v) is var s && s.Any(char.IsLetter) && s == s.ToUpperInvariant()),
    };

    public static bool Knows(string name) => All.ContainsKey(name) || Operator(name) is not null;

    public static bool Apply(string name, object? value, List<object?> arguments)
    {
        if (Operator(name) is { } comparison && arguments.Count == 1)
        {
            return Operators.Compare(comparison, value, arguments[0]);
        }

        if (!All.TryGetValue(name, out (int Arguments, Func<object?, object?, bool> Test) test))
        {
            throw new UnsupportedException($"the test '{name}'");
        }

        Account.PayFor(value as string ?? "");
        return arguments.Count == test.Arguments ? test.Test(value, arguments.Count > 0 ? arguments[0] : null)
            : throw new RenderException($"the test '{name}' takes {test.Arguments} arguments, not {arguments.Count}");
    }

    // selectattr("x", ">", 1): the operators are tests too.
    static string? Operator(string name) => name is "==" or "!=" or "<" or "<=" or ">" or ">=" ? name : null;
}
