using System.Globalization;

namespace KvCuda.Text.Jinja;

/// <summary>Tokens to expressions, in Jinja's order of precedence.</summary>
sealed partial class Parser
{
    static readonly string[] Comparisons = ["==", "!=", "<", "<=", ">", ">="];

    /// <summary>One expression, or several with commas between them, which make a tuple.</summary>
    Expression Tuple(bool withCondition = true)
    {
        int line = Current.Line;
        Expression first = withCondition ? Expression() : Or();
        if (!Current.Is(TokenKind.Operator, ","))
        {
            return first;
        }

        var items = new List<Expression> { first };
        while (TryOperator(","))
        {
            if (Current.Kind is TokenKind.OutputEnd or TokenKind.BlockEnd || Current.Is(TokenKind.Operator, ")"))
            {
                break;
            }

            items.Add(withCondition ? Expression() : Or());
        }

        return new ListExpression(line, items, isTuple: true);
    }

    Expression Expression()
    {
        Enter();
        int known = unknown.Count;
        Expression value = Or();
        while (Current.Is(TokenKind.Name, "if"))
        {
            int line = Take().Line;
            Expression condition = Or();
            value = new Conditional(line, condition, value, TryKeyword("else") ? Expression() : null);
            ForgiveSince(known);
        }

        depth--;
        return value;
    }

    Expression Or()
    {
        Expression left = And();
        while (Current.Is(TokenKind.Name, "or"))
        {
            left = new Logical(Take().Line, left, isAnd: false, And());
        }

        return left;
    }

    Expression And()
    {
        Expression left = Negation();
        while (Current.Is(TokenKind.Name, "and"))
        {
            left = new Logical(Take().Line, left, isAnd: true, Negation());
        }

        return left;
    }

    Expression Negation()
    {
        if (!Current.Is(TokenKind.Name, "not"))
        {
            return Compare();
        }

        Enter();
        var not = new Not(Take().Line, Negation());
        depth--;
        return not;
    }

    Expression Compare()
    {
        int line = Current.Line;
        Expression first = Sum();
        var rest = new List<(string, Expression)>();
        while (true)
        {
            if (Current.Kind == TokenKind.Operator && Comparisons.Contains(Current.Text))
            {
                rest.Add((Take().Text, Sum()));
            }
            else if (TryKeyword("in"))
            {
                rest.Add(("in", Sum()));
            }
            else if (Current.Is(TokenKind.Name, "not") && tokens[at + 1].Is(TokenKind.Name, "in"))
            {
                at += 2;
                rest.Add(("not in", Sum()));
            }
            else
            {
                return rest.Count == 0 ? first : new Comparison(line, first, rest);
            }
        }
    }

    Expression Sum()
    {
        Expression left = Concatenation();
        while (Current.Kind == TokenKind.Operator && Current.Text is "+" or "-")
        {
            Token token = Take();
            left = new Binary(token.Line, left, token.Text, Concatenation());
        }

        return left;
    }

    Expression Concatenation()
    {
        Expression left = Product();
        while (Current.Is(TokenKind.Operator, "~"))
        {
            left = new Binary(Take().Line, left, "~", Product());
        }

        return left;
    }

    Expression Product()
    {
        Expression left = Power();
        while (Current.Kind == TokenKind.Operator && Current.Text is "*" or "/" or "//" or "%")
        {
            Token token = Take();
            left = new Binary(token.Line, left, token.Text, Power());
        }

        return left;
    }

    Expression Power()
    {
        Expression left = Signed(filters: true);
        while (Current.Is(TokenKind.Operator, "**"))
        {
            left = new Binary(Take().Line, left, "**", Signed(filters: true));
        }

        return left;
    }

    Expression Signed(bool filters)
    {
        Enter();
        Expression value;
        if (Current.Kind == TokenKind.Operator && Current.Text is "-" or "+")
        {
            Token sign = Take();
            value = new Unary(sign.Line, sign.Text == "-", Signed(filters: false));
        }
        else
        {
            value = Primary();
        }

        value = Postfix(value);
        depth--;
        return filters ? FiltersAndTests(value) : value;
    }

    Expression Primary()
    {
        Token token = Take();
        switch (token.Kind)
        {
            case TokenKind.Name:
                return token.Text switch
                {
                    "true" or "True" => new Literal(token.Line, true),
                    "false" or "False" => new Literal(token.Line, false),
                    "none" or "None" => new Literal(token.Line, null),
                    "if" or "else" or "elif" or "and" or "or" or "not" or "in" or "is" =>
                        throw errors.Syntax(token.Line, $"expected a value, found '{token.Text}'"),
                    _ => new NameExpression(token.Line, token.Text),
                };
            case TokenKind.String:
                string text = token.Text;
                while (Current.Kind == TokenKind.String)
                {
                    text += Take().Text;
                }

                return new Literal(token.Line, text);
            case TokenKind.Integer:
                return new Literal(token.Line, long.Parse(token.Text, CultureInfo.InvariantCulture));
            case TokenKind.Float:
                return new Literal(token.Line, double.Parse(token.Text, CultureInfo.InvariantCulture));
            case TokenKind.Operator when token.Text == "(":
                if (TryOperator(")"))
                {
                    return new ListExpression(token.Line, [], isTuple: true);
                }

                Expression inner = Tuple();
                ExpectOperator(")");
                return inner;
            case TokenKind.Operator when token.Text == "[":
                var items = new List<Expression>();
                while (!TryOperator("]"))
                {
                    if (items.Count > 0)
                    {
                        ExpectOperator(",");
                        if (TryOperator("]"))
                        {
                            break;
                        }
                    }

                    items.Add(Expression());
                }

                return new ListExpression(token.Line, items, isTuple: false);
            case TokenKind.Operator when token.Text == "{":
                var pairs = new List<(Expression, Expression)>();
                while (!TryOperator("}"))
                {
                    if (pairs.Count > 0)
                    {
                        ExpectOperator(",");
                        if (TryOperator("}"))
                        {
                            break;
                        }
                    }

                    Expression key = Expression();
                    ExpectOperator(":");
                    pairs.Add((key, Expression()));
                }

                return new DictExpression(token.Line, pairs);
            default:
                throw errors.Syntax(token.Line, $"expected a value, found {token}");
        }
    }

    Expression Postfix(Expression value)
    {
        while (Current.Kind == TokenKind.Operator)
        {
            int line = Current.Line;
            if (TryOperator("."))
            {
                Token name = Take();
                value = name.Kind switch
                {
                    TokenKind.Name => new AttributeExpression(line, value, name.Text),
                    TokenKind.Integer => new Subscript(line, value, new Literal(line, long.Parse(name.Text, CultureInfo.InvariantCulture))),
                    _ => throw errors.Syntax(line, $"expected a name after '.', found {name}"),
                };
            }
            else if (TryOperator("["))
            {
                value = SubscriptOf(value, line);
            }
            else if (Current.Is(TokenKind.Operator, "("))
            {
                value = new CallExpression(line, value, CallArguments());
            }
            else
            {
                break;
            }
        }

        return value;
    }

    Expression SubscriptOf(Expression value, int line)
    {
        Expression? start = Current.Is(TokenKind.Operator, ":") ? null : Expression();
        if (start is not null && TryOperator("]"))
        {
            return new Subscript(line, value, start);
        }

        ExpectOperator(":");
        Expression? stop = Current.Kind == TokenKind.Operator && Current.Text is ":" or "]" ? null : Expression();
        Expression? step = TryOperator(":") && !Current.Is(TokenKind.Operator, "]") ? Expression() : null;
        ExpectOperator("]");
        return new Slice(line, value, start, stop, step);
    }

    ArgumentList CallArguments()
    {
        var positional = new List<Expression>();
        var named = new List<(string, Expression)>();
        ExpectOperator("(");
        while (!TryOperator(")"))
        {
            if (positional.Count + named.Count > 0)
            {
                ExpectOperator(",");
                if (TryOperator(")"))
                {
                    break;
                }
            }

            if (Current.Kind == TokenKind.Operator && Current.Text is "*" or "**")
            {
                Token star = Take();
                if (star.Text == "*")
                {
                    positional.Add(new Spread(star.Line, Expression()));
                }
                else
                {
                    named.Add(("**", Expression()));
                }
            }
            else if (Current.Kind == TokenKind.Name && tokens[at + 1].Is(TokenKind.Operator, "="))
            {
                string name = TakeName();
                at++;
                named.Add((name, Expression()));
            }
            else if (named.Count > 0)
            {
                throw errors.Syntax(Current.Line, "an argument without a name follows one with a name");
            }
            else
            {
                positional.Add(Expression());
            }
        }

        return new ArgumentList(positional, named);
    }

    Expression FiltersAndTests(Expression value)
    {
        while (true)
        {
            int line = Current.Line;
            if (Current.Is(TokenKind.Operator, "|"))
            {
                value = Filter(value);
            }
            else if (TryKeyword("is"))
            {
                value = Test(value, line);
            }
            else if (Current.Is(TokenKind.Operator, "("))
            {
                value = new CallExpression(line, value, CallArguments());
            }
            else
            {
                return value;
            }
        }
    }

    FilterExpression Filter(Expression value)
    {
        ExpectOperator("|");
        (string name, int line, ArgumentList arguments) = FilterCall();
        return new FilterExpression(line, value, name, arguments);
    }

    (string Name, int Line, ArgumentList Arguments) FilterCall()
    {
        int line = Current.Line;
        string name = TakeName();
        if (!Filters.Knows(name))
        {
            unknown.Add((line, $"the filter '{name}'"));
        }

        return (name, line, Current.Is(TokenKind.Operator, "(") ? CallArguments() : ArgumentList.Empty);
    }

    /// <summary>a | b(..), applied to what is given later; the first bar may be missing.</summary>
    Func<Expression, Expression> FilterChain()
    {
        var chain = new List<(string Name, int Line, ArgumentList Arguments)>();
        TryOperator("|");
        do
        {
            chain.Add(FilterCall());
        }
        while (TryOperator("|"));

        return value => chain.Aggregate(value, (e, f) => new FilterExpression(f.Line, e, f.Name, f.Arguments));
    }

    Expression Test(Expression value, int line)
    {
        bool negative = TryKeyword("not");
        string name = TakeName();
        if (!Tests.Knows(name))
        {
            unknown.Add((line, $"the test '{name}'"));
        }

        ArgumentList arguments = ArgumentList.Empty;
        if (Current.Is(TokenKind.Operator, "("))
        {
            arguments = CallArguments();
        }
        else if (Current.Kind is TokenKind.String or TokenKind.Integer or TokenKind.Float
            || (Current.Kind == TokenKind.Operator && Current.Text is "[" or "{")
            || (Current.Kind == TokenKind.Name && Current.Text is not ("else" or "or" or "and" or "is" or "if" or "in" or "not"
                or "recursive")))
        {
            arguments = new ArgumentList([Postfix(Primary())], []);
        }

        Expression test = new TestExpression(line, value, name, arguments);
        return negative ? new Not(line, test) : test;
    }
}
