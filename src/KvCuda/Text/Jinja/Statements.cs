namespace KvCuda.Text.Jinja;

/// <summary>How a body ended.</summary>
enum Flow
{
    Next,
    Break,
    Continue,
}

/// <summary>A part of a template that writes, sets or decides.</summary>
abstract class Statement(int line)
{
    public int Line => line;

    public abstract Flow Execute(RenderContext context);

    public static Flow Execute(List<Statement> body, RenderContext context)
    {
        foreach (Statement statement in body)
        {
            Flow flow;
            try
            {
                context.Enter();
                flow = statement.Execute(context);
            }
            catch (RenderException e)
            {
                throw context.Errors.Render(statement.Line, e.Message);
            }
            catch (UnsupportedException e)
            {
                throw context.Errors.Unsupported(statement.Line, e.Message);
            }

            if (flow != Flow.Next)
            {
                return flow;
            }
        }

        return Flow.Next;
    }
}

sealed class TextStatement(int line, string text) : Statement(line)
{
    public override Flow Execute(RenderContext context)
    {
        context.Write(text);
        return Flow.Next;
    }
}

sealed class OutputStatement(int line, Expression value) : Statement(line)
{
    public override Flow Execute(RenderContext context)
    {
        context.Write(Py.Str(value.Evaluate(context)));
        return Flow.Next;
    }
}

sealed class IfStatement(int line, List<(Expression Condition, List<Statement> Body)> branches, List<Statement> otherwise)
    : Statement(line)
{
    public override Flow Execute(RenderContext context)
    {
        foreach ((Expression condition, List<Statement> body) in branches)
        {
            if (Py.Truthy(condition.Evaluate(context)))
            {
                return Execute(body, context);
            }
        }

        return Execute(otherwise, context);
    }
}

/// <summary>Where a value goes: a name, several names, or an attribute of a namespace.</summary>
abstract class Target
{
    public abstract void Assign(object? value, RenderContext context);

    public sealed class Name(string name) : Target
    {
        public override void Assign(object? value, RenderContext context) => context.Scope.Set(name, value);
    }

    public sealed class Names(List<Target> targets) : Target
    {
        public override void Assign(object? value, RenderContext context)
        {
            List<object?> items = Py.Iterate(value);
            if (items.Count != targets.Count)
            {
                throw new RenderException($"{items.Count} values cannot be given to {targets.Count} names");
            }

            for (int i = 0; i < items.Count; i++)
            {
                targets[i].Assign(items[i], context);
            }
        }
    }

    public sealed class Attribute(string name, string attribute) : Target
    {
        public override void Assign(object? value, RenderContext context)
        {
            if (!context.Scope.TryGet(name, out object? target) || target is not Namespace space)
            {
                throw new RenderException($"'{name}' is not a namespace; only those have attributes that can be set");
            }

            space.Values[attribute] = value;
        }
    }
}

sealed class SetStatement(int line, Target target, Expression value) : Statement(line)
{
    public override Flow Execute(RenderContext context)
    {
        target.Assign(value.Evaluate(context), context);
        return Flow.Next;
    }
}

/// <summary>{% set x %}..{% endset %}, with filters perhaps; and {% filter %}, which has no target.</summary>
sealed class CaptureStatement(int line, Target? target, List<Statement> body, Func<Expression, Expression> filters)
    : Statement(line)
{
    public override Flow Execute(RenderContext context)
    {
        string text = context.Capture(new Scope(context.Scope), () => Execute(body, context));
        object? value = filters(new Literal(Line, text)).Evaluate(context);
        if (target is null)
        {
            context.Write(Py.Str(value));
        }
        else
        {
            target.Assign(value, context);
        }

        return Flow.Next;
    }
}

sealed class WithStatement(int line, List<(Target Target, Expression Value)> values, List<Statement> body) : Statement(line)
{
    public override Flow Execute(RenderContext context)
    {
        List<object?> all = values.ConvertAll(v => v.Value.Evaluate(context));
        Scope outer = context.Scope;
        context.Scope = new Scope(outer);
        try
        {
            for (int i = 0; i < all.Count; i++)
            {
                values[i].Target.Assign(all[i], context);
            }

            return Execute(body, context);
        }
        finally
        {
            context.Scope = outer;
        }
    }
}

/// <summary>A body that is just executed: {% generation %} marks what a model wrote, which changes no text.</summary>
sealed class PlainStatement(int line, List<Statement> body) : Statement(line)
{
    public override Flow Execute(RenderContext context) => Execute(body, context);
}

sealed class FlowStatement(int line, Flow flow) : Statement(line)
{
    public override Flow Execute(RenderContext context) => flow;
}

sealed class ForStatement(
    int line, Target target, Expression items, Expression? filter, bool recursive, List<Statement> body,
    List<Statement> otherwise) : Statement(line)
{
    public override Flow Execute(RenderContext context)
    {
        Run(items.Evaluate(context), 0, context.Scope, context);
        return Flow.Next;
    }

    void Run(object? source, int depth, Scope outer, RenderContext context)
    {
        if (source is Undefined or null or Sequence or Dict or string or bool or long or double or Namespace)
        {
            List<object?> all = Py.Iterate(source);
            Scope before = context.Scope;
            try
            {
                Run(filter is null ? all : Filter(all, outer, context), depth, outer, context);
            }
            finally
            {
                context.Scope = before;
            }

            return;
        }

        throw new RenderException($"a {Py.TypeName(source)} cannot be walked through");
    }

    List<object?> Filter(List<object?> all, Scope outer, RenderContext context) => all.FindAll(item =>
    {
        context.Scope = new Scope(outer);
        target.Assign(item, context);
        return Py.Truthy(filter!.Evaluate(context));
    });

    void Run(List<object?> all, int depth, Scope outer, RenderContext context)
    {
        context.Scope = new Scope(outer);
        if (all.Count == 0)
        {
            Execute(otherwise, context);
            return;
        }

        var loop = new Loop(all, depth, recursive ? (inner, self) =>
            context.Capture(context.Scope, () => Run(inner, self.Depth + 1, outer, context)) : null);
        for (int i = 0; i < all.Count; i++)
        {
            loop.Index = i;
            context.Pay(1);
            context.Scope = new Scope(outer);
            context.Scope.Set("loop", loop);
            target.Assign(all[i], context);
            if (Execute(body, context) == Flow.Break)
            {
                break;
            }
        }
    }
}

/// <summary>loop, within a for.</summary>
sealed class Loop(List<object?> items, int depth, Func<object?, Loop, string>? recurse) : IJinjaCallable
{
    object? last = new Undefined("nothing yet");

    public int Index { get; set; }

    public int Depth => depth;

    public object? Attribute(string name) => name switch
    {
        "index" => Index + 1L,
        "index0" => (long)Index,
        "revindex" => (long)items.Count - Index,
        "revindex0" => items.Count - Index - 1L,
        "first" => Index == 0,
        "last" => Index == items.Count - 1,
        "length" => (long)items.Count,
        "depth" => depth + 1L,
        "depth0" => (long)depth,
        "previtem" => Index > 0 ? items[Index - 1] : new Undefined("the item before the first"),
        "nextitem" => Index + 1 < items.Count ? items[Index + 1] : new Undefined("the item after the last"),
        "cycle" => new Function((a, _) => a.TakeRest() is { Count: > 0 } all ? all[Index % all.Count]
            : throw new RenderException("loop.cycle needs something to cycle through"), "loop.cycle"),
        "changed" => new Function((a, _) => Changed(a.TakeRest()), "loop.changed"),
        _ => throw new UnsupportedException($"loop.{name}"),
    };

    public object? Call(List<object?> arguments, Dictionary<string, object?> named, RenderContext context) =>
        recurse is null ? throw new RenderException("this loop is not recursive")
        : arguments.Count == 1 ? recurse(arguments[0], this) : throw new RenderException("loop(..) takes one argument");

    bool Changed(List<object?> values)
    {
        var now = new Sequence(values);
        bool changed = !Py.Equal(last, now);
        last = now;
        return changed;
    }
}
