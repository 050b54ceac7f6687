using System.Text;
using KvCuda.Text.Pipeline;

namespace KvCuda.Text.Decoding;

/// <summary>
/// One step of the way from tokens to text. Tokens arrive in parts, in order; what a stage cannot decide yet it holds back. A
/// whole text is decoded by the same stages, so streaming gives the same text by construction.
/// </summary>
abstract class DecoderStage
{
    DecoderStage? next;
    TextBudget budget = null!; // set where the stages are put in a row

    /// <summary>Puts the stages in a row; returns the first.</summary>
    /// <param name="stages">in order</param>
    /// <param name="budget">what they pass on is charged to it</param>
    public static DecoderStage Chain(IReadOnlyList<DecoderStage> stages, TextBudget budget)
    {
        foreach (DecoderStage stage in stages)
        {
            stage.budget = budget;
        }

        for (int i = 0; i + 1 < stages.Count; i++)
        {
            stages[i].next = stages[i + 1];
        }

        return stages[0];
    }

    /// <summary>Takes a part of a token; <paramref name="ends"/> with the last part of it.</summary>
    public abstract void Add(ReadOnlySpan<char> part, bool ends);

    /// <summary>The text is over: passes on what was held back, and is as new.</summary>
    public void Finish()
    {
        Drain();
        next?.Finish();
    }

    /// <summary>Passes on what was held back.</summary>
    protected abstract void Drain();

    protected void Pass(ReadOnlySpan<char> part, bool ends)
    {
        budget.Charge(part.Length + 1);
        next!.Add(part, ends);
    }

    /// <summary>Pays for text that is made, or looked at again, before it is passed on.</summary>
    protected void Charge(long made) => budget.Charge(made);
}

/// <summary>Where the text ends up.</summary>
sealed class TextEnd : DecoderStage
{
    readonly StringBuilder text = new();

    public string Take()
    {
        if (text.Length == 0)
        {
            return "";
        }

        string taken = text.ToString();
        text.Clear();
        return taken;
    }

    public override void Add(ReadOnlySpan<char> part, bool ends) => text.Append(part);

    protected override void Drain()
    {
    }
}

/// <summary>Stands where the file names no decoder: tokens are joined by a space.</summary>
sealed class SpaceStage : DecoderStage
{
    bool between, inside;

    public override void Add(ReadOnlySpan<char> part, bool ends)
    {
        if (between && !inside)
        {
            Pass(" ", true);
        }

        Pass(part, ends);
        (between, inside) = (true, !ends);
    }

    protected override void Drain() => (between, inside) = (false, false);
}
