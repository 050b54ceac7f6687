namespace KvCuda.Text.Jinja;

/// <summary>An expression; knows its line, so that errors do.</summary>
abstract class Expression(int line)
{
    public int Line => line;

    public object? Evaluate(RenderContext context)
    {
        try
        {
            context.Enter();
            return Compute(context);
        }
        catch (RenderException e)
        {
            throw context.Errors.Render(line, e.Message);
        }
        catch (UnsupportedException e)
        {
            throw context.Errors.Unsupported(line, e.Message);
        }
        catch (OverflowException)
        {
            throw context.Errors.Render(line, "a number does not fit into 64 bits");
        }
    }

    protected abstract object? Compute(RenderContext context);
}

sealed class Literal(int line, object? value) : Expression(line)
{
    protected override object? Compute(RenderContext context) => value;
}

sealed class NameExpression(int line, string name) : Expression(line)
{
    public string Name => name;

    protected override object? Compute(RenderContext context) =>
        context.Scope.TryGet(name, out object? value) ? value
            : Globals.TryGet(name, out value) ? value : new Undefined($"'{name}'");
}

sealed class ListExpression(int line, List<Expression> items, bool isTuple) : Expression(line)
{
    public List<Expression> Items => items;

    public bool IsTuple => isTuple;

    protected override object? Compute(RenderContext context) =>
        new Sequence(items.ConvertAll(i => i.Evaluate(context)), isTuple);
}

sealed class DictExpression(int line, List<(Expression Key, Expression Value)> items) : Expression(line)
{
    protected override object? Compute(RenderContext context)
    {
        var dict = new Dict();
        foreach ((Expression key, Expression value) in items)
        {
            dict.Set(key.Evaluate(context), value.Evaluate(context));
        }

        return dict;
    }
}

sealed class Conditional(int line, Expression condition, Expression yes, Expression? no) : Expression(line)
{
    protected override object? Compute(RenderContext context) => Py.Truthy(condition.Evaluate(context))
        ? yes.Evaluate(context)
        : no is null ? new Undefined("an if without an else") : no.Evaluate(context);
}

sealed class Logical(int line, Expression left, bool isAnd, Expression right) : Expression(line)
{
    protected override object? Compute(RenderContext context)
    {
        object? value = left.Evaluate(context);
        return Py.Truthy(value) == isAnd ? right.Evaluate(context) : value;
    }
}

sealed class Not(int line, Expression inner) : Expression(line)
{
    protected override object? Compute(RenderContext context) => !Py.Truthy(inner.Evaluate(context));
}

/// <summary>a &lt; b &lt; c: each neighbour pair must hold.</summary>
sealed class Comparison(int line, Expression first, List<(string Operator, Expression Operand)> rest) : Expression(line)
{
    protected override object? Compute(RenderContext context)
    {
        object? left = first.Evaluate(context);
        foreach ((string name, Expression operand) in rest)
        {
            object? right = operand.Evaluate(context);
            context.Pay(((left as string)?.Length + (right as string)?.Length ?? 0) / 8);
            if (!Operators.Compare(name, left, right))
            {
                return false;
            }

            left = right;
        }

        return true;
    }
}

sealed class Binary(int line, Expression left, string name, Expression right) : Expression(line)
{
    protected override object? Compute(RenderContext context)
    {
        object? a = left.Evaluate(context), b = right.Evaluate(context);
        return name == "~" ? context.Pay(Py.Str(a) + Py.Str(b)) : Operators.Arithmetic(name, a, b, context);
    }
}

sealed class Unary(int line, bool negative, Expression inner) : Expression(line)
{
    protected override object? Compute(RenderContext context) => inner.Evaluate(context) switch
    {
        double d => (object)(negative ? -d : d),
        { } value when Py.IsNumber(value) => negative ? checked(-Py.ToLong(value)) : Py.ToLong(value),
        var value => throw new RenderException($"a {Py.TypeName(value)} has no sign"),
    };
}

/// <summary>value.name: a method first, then an item.</summary>
sealed class AttributeExpression(int line, Expression value, string name) : Expression(line)
{
    public Expression Value => value;

    public string Name => name;

    protected override object? Compute(RenderContext context) => Members.Attribute(value.Evaluate(context), name);
}

/// <summary>value[key]: an item first, then a method.</summary>
sealed class Subscript(int line, Expression value, Expression key) : Expression(line)
{
    protected override object? Compute(RenderContext context) =>
        Members.Item(value.Evaluate(context), key.Evaluate(context));
}

sealed class Slice(int line, Expression value, Expression? start, Expression? stop, Expression? step) : Expression(line)
{
    protected override object? Compute(RenderContext context)
    {
        object? whole = value.Evaluate(context);
        context.Pay(whole is string or Sequence ? Py.Length(whole) : 0);
        return Members.Slice(whole, Bound(start, context), Bound(stop, context), Bound(step, context));
    }

    static long? Bound(Expression? bound, RenderContext context) =>
        bound?.Evaluate(context) is { } value ? Py.ToLong(value) : null;
}

/// <summary>Arguments as written, for calls, filters and tests.</summary>
sealed record ArgumentList(List<Expression> Positional, List<(string Name, Expression Value)> Named)
{
    public static readonly ArgumentList Empty = new([], []);

    public (List<object?> Positional, Dictionary<string, object?> Named) Evaluate(RenderContext context)
    {
        var named = new Dictionary<string, object?>(StringComparer.Ordinal);
        var positional = new List<object?>(Positional.Count);
        foreach (Expression argument in Positional)
        {
            object? value = argument.Evaluate(context);
            if (argument is Spread)
            {
                context.Pay(((Sequence)value!).Items.Count);
                positional.AddRange(((Sequence)value).Items);
            }
            else
            {
                positional.Add(value);
            }
        }

        foreach ((string name, Expression argument) in Named)
        {
            object? value = argument.Evaluate(context);
            if (name != "**")
            {
                named[name] = value;
                continue;
            }

            Dict all = value as Dict ?? throw new RenderException($"a {Py.TypeName(value)} cannot follow '**'; a dict can");
            context.Pay(all.Count);
            foreach ((object? key, object? item) in all.Entries)
            {
                string given = key as string ?? throw new RenderException("the keys of a dict after '**' are names");
                if (!named.TryAdd(given, item))
                {
                    throw new RenderException($"the argument '{given}' is given twice");
                }
            }
        }

        return (positional, named);
    }
}

/// <summary>*items, among arguments.</summary>
sealed class Spread(int line, Expression items) : Expression(line)
{
    protected override object? Compute(RenderContext context) => items.Evaluate(context) is Sequence list
        ? list : throw new RenderException("only a list can follow '*'");
}

sealed class CallExpression(int line, Expression function, ArgumentList arguments) : Expression(line)
{
    public Expression Function => function;

    public ArgumentList Arguments => arguments;

    protected override object? Compute(RenderContext context)
    {
        object? target = function.Evaluate(context);
        (List<object?> positional, Dictionary<string, object?> named) = arguments.Evaluate(context);
        return Invoke(target, positional, named, context);
    }

    public static object? Invoke(
        object? target, List<object?> positional, Dictionary<string, object?> named, RenderContext context) => target switch
        {
            IJinjaCallable callable => callable.Call(positional, named, context),
            Undefined undefined => throw new RenderException($"{undefined.What} is undefined and cannot be called"),
            _ => throw new RenderException($"a {Py.TypeName(target)} cannot be called"),
        };
}

/// <summary>value | filter(arguments). A null value: the text of a filter block.</summary>
sealed class FilterExpression(int line, Expression value, string name, ArgumentList arguments) : Expression(line)
{
    protected override object? Compute(RenderContext context)
    {
        object? input = value.Evaluate(context);
        (List<object?> positional, Dictionary<string, object?> named) = arguments.Evaluate(context);
        return Filters.Apply(name, input, positional, named, context);
    }
}

sealed class TestExpression(int line, Expression value, string name, ArgumentList arguments) : Expression(line)
{
    protected override object? Compute(RenderContext context)
    {
        object? input = value.Evaluate(context);
        return Tests.Apply(name, input, arguments.Evaluate(context).Positional);
    }
}
