namespace KvCuda.Text.Jinja;

/// <summary>{% macro name(a, b=1) %}, and the caller of a {% call %}.</summary>
sealed class Macro(
    string name, List<(string Name, Expression? Default)> parameters, List<Statement> body, Scope closure, bool usesRest)
    : IJinjaCallable
{
    public string Name => name;

    public object? Call(List<object?> arguments, Dictionary<string, object?> named, RenderContext context)
    {
        var scope = new Scope(closure);
        var all = new Arguments(name, arguments, named);
        return context.Capture(scope, () =>
        {
            foreach ((string parameter, Expression? standard) in parameters)
            {
                scope.Set(parameter, all.TryTake(parameter, out object? value) ? value
                    : standard is not null ? standard.Evaluate(context) : new Undefined($"'{parameter}'"));
            }

            if (all.TryTakeNamed("caller", out object? caller))
            {
                scope.Set("caller", caller);
            }
            else
            {
                scope.Set("caller", new Undefined("'caller'"));
            }

            if (usesRest)
            {
                scope.Set("varargs", new Sequence(all.TakeRest(), isTuple: true));
                var kwargs = new Dict();
                foreach ((string key, object? value) in all.TakeNamed())
                {
                    kwargs.Set(key, value);
                }

                scope.Set("kwargs", kwargs);
            }

            all.ExpectNoMore();
            Statement.Execute(body, context);
        });
    }
}

sealed class MacroStatement(
    int line, string name, List<(string Name, Expression? Default)> parameters, List<Statement> body, bool usesRest)
    : Statement(line)
{
    public override Flow Execute(RenderContext context)
    {
        context.Scope.Set(name, new Macro(name, parameters, body, context.Scope, usesRest));
        return Flow.Next;
    }
}

/// <summary>{% call macro(..) %}body{% endcall %}: the macro can write the body by caller().</summary>
sealed class CallStatement(
    int line, CallExpression call, List<(string Name, Expression? Default)> parameters, List<Statement> body)
    : Statement(line)
{
    public override Flow Execute(RenderContext context)
    {
        object? target = call.Function.Evaluate(context);
        (List<object?> positional, Dictionary<string, object?> named) = call.Arguments.Evaluate(context);
        named["caller"] = new Macro("caller", parameters, body, context.Scope, usesRest: false);
        context.Write(Py.Str(CallExpression.Invoke(target, positional, named, context)));
        return Flow.Next;
    }
}
