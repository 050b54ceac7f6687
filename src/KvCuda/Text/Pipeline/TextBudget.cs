// How much text the steps of a tokenizer may make of a text: files come with models and may ask for doubling without end.
namespace KvCuda.Text.Pipeline;

/// <summary>
/// A bound on the text that one call makes, over all steps, in proportion to what it was given. The longest that published
/// pipelines make of a text is about 30 times its length, in all steps together.
/// </summary>
sealed class TextBudget
{
    /// <summary>Steps a pipeline may have; published ones have fewer than ten.</summary>
    public const int MaxSteps = 64;

    const int Times = 256, Base = 4 << 20;

    readonly string what;
    long left;

    /// <param name="given">bytes or characters of the text</param>
    /// <param name="what">"the normalizers of tokenizer.json", for the error</param>
    public TextBudget(long given, string what)
    {
        this.what = what;
        left = Base + (given * Times);
    }

    /// <summary>Allows more, for more that was given.</summary>
    public void Earn(long given) => left = Math.Min(left + 4096 + (given * Times), long.MaxValue / 4);

    /// <summary>Pays for text that is made.</summary>
    /// <exception cref="InvalidRequestException">It is more than <see cref="Times"/> times what was given, and 4 MiB.</exception>
    public void Charge(long made)
    {
        left -= made;
        if (left < 0)
        {
            throw new InvalidRequestException($"{what} make more than {Times} times of a text what it is (and more than {Base >> 20} MiB); "
                + "no sound tokenizer does that. The model folder's tokenizer.json is damaged or hostile.");
        }
    }
}
