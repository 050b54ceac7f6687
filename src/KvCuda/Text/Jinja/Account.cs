// What the rendering on this thread may still do; operators, comparisons and dictionary keys pay here by size.
namespace KvCuda.Text.Jinja;

/// <summary>
/// The account of the rendering that runs on this thread. Equality, order, hashing and printing happen deep inside collections,
/// where no context can be handed down; each of them pays for what it looks at.
/// </summary>
static class Account
{
    [ThreadStatic]
    static RenderContext? current;

    /// <summary>Runs an action whose operations are paid for from a context.</summary>
    public static void Run(RenderContext context, Action action)
    {
        RenderContext? before = current;
        current = context;
        try
        {
            action();
        }
        finally
        {
            current = before;
        }
    }

    /// <summary>Pays for steps; nothing outside of a rendering.</summary>
    public static void Pay(long steps) => current?.Pay(steps);

    /// <summary>Pays for looking at a text: an eighth of a step for each character.</summary>
    public static void PayFor(string text) => current?.Pay(text.Length / 8);

    /// <summary>
    /// Pays for looking for a text in another. A search compares at each place, in the worst case all of what is looked for.
    /// </summary>
    public static void PayForSearch(string text, string part) => current?.Pay((text.Length / 8) + (text.Length * (long)part.Length / 128));
}
