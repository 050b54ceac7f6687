using System.Globalization;

namespace KvCuda.Text.Jinja;

/// <summary>Tokens to statements. Expressions are in the other half of this class.</summary>
sealed partial class Parser
{
    const int MaxDepth = 150;

    readonly List<Token> tokens;
    readonly TemplateErrors errors;
    readonly List<(int Line, string What)> unknown = []; // filters and tests that nobody knows, outside of conditions
    int at, depth, loops;

    Parser(List<Token> tokens, TemplateErrors errors)
    {
        this.tokens = tokens;
        this.errors = errors;
    }

    public static List<Statement> Parse(string template, TemplateErrors errors)
    {
        var parser = new Parser(Lexer.Tokenize(template, errors), errors);
        List<Statement> body = parser.Body();
        if (parser.unknown.Count > 0 && parser.Current.Kind == TokenKind.End)
        {
            throw errors.Unsupported(parser.unknown[0].Line, parser.unknown[0].What);
        }

        return parser.Current.Kind == TokenKind.End ? body
            : throw errors.Syntax(parser.Current.Line, $"'{parser.tokens[parser.at + 1].Text}' has nothing to end or continue");
    }

    Token Current => tokens[at];

    Token Take() => tokens[at].Kind == TokenKind.End
        ? throw errors.Syntax(tokens[at].Line, "the template ends in the middle of something") : tokens[at++];

    bool TryTake(TokenKind kind, string text)
    {
        if (!Current.Is(kind, text))
        {
            return false;
        }

        at++;
        return true;
    }

    bool TryOperator(string text) => TryTake(TokenKind.Operator, text);

    bool TryKeyword(string text) => TryTake(TokenKind.Name, text);

    void Expect(TokenKind kind, string text)
    {
        if (!TryTake(kind, text))
        {
            throw errors.Syntax(Current.Line, $"expected '{text}', found {Current}");
        }
    }

    void ExpectOperator(string text) => Expect(TokenKind.Operator, text);

    void EndBlock() => Expect(TokenKind.BlockEnd, "%}");

    string TakeName() => Current.Kind == TokenKind.Name ? Take().Text
        : throw errors.Syntax(Current.Line, $"expected a name, found {Current}");

    void Enter()
    {
        if (++depth > MaxDepth)
        {
            throw errors.Syntax(Current.Line, $"it is nested deeper than {MaxDepth}");
        }
    }

    /// <summary>Statements up to a block tag with one of these names (which is left), or the end.</summary>
    List<Statement> Body(params ReadOnlySpan<string> until)
    {
        Enter();
        var body = new List<Statement>();
        while (Current.Kind != TokenKind.End)
        {
            Token token = Current;
            if (token.Kind == TokenKind.Data)
            {
                at++;
                body.Add(new TextStatement(token.Line, token.Text));
            }
            else if (token.Kind == TokenKind.OutputBegin)
            {
                at++;
                body.Add(new OutputStatement(token.Line, Tuple()));
                Expect(TokenKind.OutputEnd, "}}");
            }
            else if (tokens[at + 1].Kind == TokenKind.Name
                && (until.Contains(tokens[at + 1].Text) || IsEnd(tokens[at + 1].Text)))
            {
                break;
            }
            else
            {
                at++;
                body.Add(Block());
            }
        }

        depth--;
        return body;
    }

    static bool IsEnd(string name) => name.StartsWith("end", StringComparison.Ordinal) || name is "else" or "elif";

    /// <summary>Takes {% name %}; what is left of the tag follows.</summary>
    void Tag(params ReadOnlySpan<string> names)
    {
        if (Current.Kind == TokenKind.BlockBegin && names.Contains(tokens[at + 1].Text))
        {
            at += 2;
            return;
        }

        string found = Current.Kind == TokenKind.BlockBegin ? $"'{tokens[at + 1].Text}'" : Current.ToString();
        throw errors.Syntax(Current.Line, $"expected '{names[^1]}', found {found}");
    }

    Statement Block()
    {
        Token tag = Current;
        string name = TakeName();
        switch (name)
        {
            case "if":
                return If(tag.Line);
            case "for":
                return For(tag.Line);
            case "set":
                return Set(tag.Line);
            case "macro":
                return MacroDefinition(tag.Line);
            case "call":
                return Call(tag.Line);
            case "filter":
                Func<Expression, Expression> filters = FilterChain();
                EndBlock();
                List<Statement> filtered = Body("endfilter");
                Tag("endfilter");
                EndBlock();
                return new CaptureStatement(tag.Line, null, filtered, filters);
            case "with":
                return With(tag.Line);
            case "generation":
                EndBlock();
                List<Statement> generated = Body("endgeneration");
                Tag("endgeneration");
                EndBlock();
                return new PlainStatement(tag.Line, generated);
            case "break" or "continue":
                if (loops == 0)
                {
                    throw errors.Syntax(tag.Line, $"'{name}' stands outside of a loop");
                }

                EndBlock();
                return new FlowStatement(tag.Line, name == "break" ? Flow.Break : Flow.Continue);
            default:
                throw errors.Unsupported(tag.Line, $"the tag '{name}'");
        }
    }

    // As in Jinja 2: what stands in a condition may never run, so an unknown filter there is an error only when it does.
    void ForgiveSince(int count) => unknown.RemoveRange(count, unknown.Count - count);

    IfStatement If(int line)
    {
        int known = unknown.Count;
        var branches = new List<(Expression, List<Statement>)>();
        List<Statement> otherwise = [];
        do
        {
            Expression condition = Tuple();
            EndBlock();
            branches.Add((condition, Body("elif", "else", "endif")));
            Tag("elif", "else", "endif");
        }
        while (tokens[at - 1].Text == "elif");

        if (tokens[at - 1].Text == "else")
        {
            EndBlock();
            otherwise = Body("endif");
            Tag("endif");
        }

        EndBlock();
        ForgiveSince(known);
        return new IfStatement(line, branches, otherwise);
    }

    ForStatement For(int line)
    {
        Target target = Targets("in");
        Expect(TokenKind.Name, "in");
        Expression items = Tuple(withCondition: false);
        Expression? filter = TryKeyword("if") ? Expression() : null;
        bool recursive = TryKeyword("recursive");
        EndBlock();
        loops++;
        List<Statement> body = Body("else", "endfor");
        loops--;
        List<Statement> otherwise = [];
        Tag("else", "endfor");
        if (tokens[at - 1].Text == "else")
        {
            EndBlock();
            otherwise = Body("endfor");
            Tag("endfor");
        }

        EndBlock();
        return new ForStatement(line, target, items, filter, recursive, body, otherwise);
    }

    Statement Set(int line)
    {
        Target target = Targets("=");
        if (TryOperator("="))
        {
            Expression value = Tuple();
            EndBlock();
            return new SetStatement(line, target, value);
        }

        Func<Expression, Expression> filters = Current.Is(TokenKind.Operator, "|") ? FilterChain() : e => e;
        EndBlock();
        List<Statement> body = Body("endset");
        Tag("endset");
        EndBlock();
        return new CaptureStatement(line, target, body, filters);
    }

    /// <summary>a, or a, b, or (a, b), or ns.a.</summary>
    Target Targets(string before)
    {
        var targets = new List<Target>();
        bool tuple = false;
        while (true)
        {
            if (TryOperator("("))
            {
                Enter();
                targets.Add(Targets(")"));
                depth--;
                ExpectOperator(")");
            }
            else
            {
                string name = TakeName();
                targets.Add(TryOperator(".") ? new Target.Attribute(name, TakeName()) : new Target.Name(name));
            }

            if (!TryOperator(","))
            {
                break;
            }

            tuple = true;
            if (Current.Text == before)
            {
                break;
            }
        }

        return tuple ? new Target.Names(targets) : targets[0];
    }

    MacroStatement MacroDefinition(int line)
    {
        string name = TakeName();
        List<(string, Expression?)> parameters = Parameters();
        EndBlock();
        int start = at, outerLoops = loops;
        loops = 0;
        List<Statement> body = Body("endmacro");
        loops = outerLoops;
        bool usesRest = tokens[start..at].Exists(t => t.Kind == TokenKind.Name && t.Text is "varargs" or "kwargs");
        Tag("endmacro");
        EndBlock();
        return new MacroStatement(line, name, parameters, body, usesRest);
    }

    CallStatement Call(int line)
    {
        List<(string, Expression?)> parameters = Current.Is(TokenKind.Operator, "(") ? Parameters() : [];
        if (Expression() is not CallExpression call)
        {
            throw errors.Syntax(line, "'call' needs a call of a macro");
        }

        EndBlock();
        int outerLoops = loops;
        loops = 0;
        List<Statement> body = Body("endcall");
        loops = outerLoops;
        Tag("endcall");
        EndBlock();
        return new CallStatement(line, call, parameters, body);
    }

    List<(string Name, Expression? Default)> Parameters()
    {
        var parameters = new List<(string, Expression?)>();
        ExpectOperator("(");
        while (!TryOperator(")"))
        {
            if (parameters.Count > 0)
            {
                ExpectOperator(",");
                if (TryOperator(")"))
                {
                    break;
                }
            }

            string name = TakeName();
            parameters.Add((name, TryOperator("=") ? Expression() : null));
        }

        return parameters;
    }

    WithStatement With(int line)
    {
        var values = new List<(Target, Expression)>();
        while (Current.Kind != TokenKind.BlockEnd)
        {
            if (values.Count > 0)
            {
                ExpectOperator(",");
            }

            string name = TakeName();
            ExpectOperator("=");
            values.Add((new Target.Name(name), Expression()));
        }

        EndBlock();
        List<Statement> body = Body("endwith");
        Tag("endwith");
        EndBlock();
        return new WithStatement(line, values, body);
    }
}
