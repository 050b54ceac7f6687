using System.Runtime.CompilerServices;
using System.Text;

namespace KvCuda.Text.Jinja;

/// <summary>Names, innermost first.</summary>
sealed class Scope(Scope? outer)
{
    readonly Dictionary<string, object?> values = new(StringComparer.Ordinal);

    public void Set(string name, object? value) => values[name] = value;

    public bool TryGet(string name, out object? value)
    {
        for (Scope? scope = this; scope is not null; scope = scope.Outer)
        {
            if (scope.values.TryGetValue(name, out value))
            {
                return true;
            }
        }

        value = null;
        return false;
    }

    public Scope? Outer => outer;
}

/// <summary>
/// One rendering: where its text goes, and how much it may still do. Templates come with models, so each loop, call and string
/// they make is paid for from one account.
/// </summary>
sealed class RenderContext(TemplateErrors errors, TimeProvider clock)
{
    public const int MaxOutput = 1 << 26, MaxCalls = 100;
    const long MaxWork = 10_000_000;

    /// <summary>Bytes that a rendering may allocate, freed or not.</summary>
    const long MaxAllocated = 1L << 30;

    readonly long allocatedBefore = GC.GetAllocatedBytesForCurrentThread();
    long work = MaxWork;
    int calls, entered;

    public TemplateErrors Errors => errors;

    public TimeProvider Clock => clock;

    public Scope Scope { get; set; } = new(null);

    public StringBuilder Output { get; set; } = new();

    /// <summary>Pays for one step, and sees to it that the stack lasts: a chain such as a+a+a+.. nests as deep as it is long.</summary>
    public void Enter()
    {
        Pay(1);
        if ((++entered & 63) == 0 && GC.GetAllocatedBytesForCurrentThread() - allocatedBefore > MaxAllocated)
        {
            throw new RenderException($"the template allocates more than {MaxAllocated >> 20} MiB");
        }
        if (!RuntimeHelpers.TryEnsureSufficientExecutionStack())
        {
            throw new RenderException("the template is nested too deeply");
        }
    }

    /// <summary>Pays for so many steps or characters.</summary>
    public void Pay(long amount)
    {
        work -= amount;
        if (work < 0 || amount < 0)
        {
            throw new RenderException($"the template does more than {MaxWork} steps");
        }
    }

    /// <summary>Pays for a text that was made.</summary>
    public string Pay(string text)
    {
        Pay(text.Length / 8);
        return text.Length <= MaxOutput ? text : throw new RenderException($"a text grows beyond {MaxOutput} characters");
    }

    /// <summary>Pays for what a function or a filter gave: it was made, whatever it was made of.</summary>
    public void PayForResult(object? result)
    {
        switch (result)
        {
            case string text:
                Pay(text);
                break;
            case Sequence list:
                Pay(list.Items.Count);
                break;
        }
    }

    public void Write(string text)
    {
        Pay(1 + (text.Length / 8));
        if (Output.Length + text.Length > MaxOutput)
        {
            throw new RenderException($"the output grows beyond {MaxOutput} characters");
        }

        Output.Append(text);
    }

    /// <summary>Runs a body in a scope of its own, and gives what it wrote.</summary>
    public string Capture(Scope scope, Action body)
    {
        if (++calls > MaxCalls)
        {
            throw new RenderException($"macros call each other deeper than {MaxCalls}");
        }

        (Scope outerScope, StringBuilder outerOutput) = (Scope, Output);
        (Scope, Output) = (scope, new StringBuilder());
        try
        {
            body();
            return Pay(Output.ToString());
        }
        finally
        {
            (Scope, Output) = (outerScope, outerOutput);
            calls--;
        }
    }
}
