// Drafts by prompt lookup: what followed the last time these tokens came.
namespace KvCuda.Engine;

/// <summary>
/// Guesses the next tokens of one request from its own text: where its last three (else two) tokens came before, what followed
/// then is the draft (prompt lookup decoding). A guess costs two look-ups; a wrong one costs a row of the step, so the length of
/// drafts follows how many of them are accepted, down to none for a while.
/// </summary>
internal sealed class Drafter(int longest)
{
    const int First = 4, LongestPause = 256;

    readonly Dictionary<(int, int, int), int> threes = [];
    readonly Dictionary<(int, int), int> twos = [];
    readonly List<int> drafts = [];
    int indexed;              // the follower of every run of tokens that ends before it is known
    int length = Math.Min(First, longest);
    int pause, nextPause = 8; // tokens to wait before the next draft, and how long the next wait will be

    /// <summary>Tokens guessed so far, and of those the tokens that were right.</summary>
    public int Drafted { get; private set; }

    /// <inheritdoc cref="Drafted"/>
    public int Accepted { get; private set; }

    /// <summary>The guess of this step.</summary>
    public IReadOnlyList<int> Drafts => drafts;

    /// <summary>Guesses what follows <paramref name="tokens"/>.</summary>
    /// <param name="tokens">the text so far, which has only grown since the last call</param>
    /// <param name="most">tokens of the guess at most</param>
    /// <returns>how many tokens are guessed; 0: nothing is known, or guessing does not pay here</returns>
    public int Guess(List<int> tokens, int most)
    {
        Index(tokens);
        drafts.Clear();
        int count = tokens.Count;
        most = Math.Min(most, length);
        if (pause > 0)
        {
            pause--;
            return 0;
        }
        if (most <= 0 || count < 3 || !Find(tokens, out int from))
        {
            return 0;
        }
        for (int i = 0; i < most; i++)
        {
            // A guess may run into itself: a text that repeats goes on repeating.
            int at = from + i;
            drafts.Add(at < count ? tokens[at] : drafts[at - count]);
        }
        return drafts.Count;
    }

    /// <summary>Only the first <paramref name="count"/> tokens of the guess have room.</summary>
    public void Shorten(int count) => drafts.RemoveRange(count, drafts.Count - count);

    /// <summary>The guess was run.</summary>
    /// <param name="accepted">how many of its first tokens were right</param>
    public void Learn(int accepted)
    {
        if (drafts.Count == 0)
        {
            return;
        }
        Drafted += drafts.Count;
        Accepted += accepted;
        if (accepted == drafts.Count)
        {
            length = Math.Min(longest, length + 2);
            nextPause = 8;
        }
        else if (2 * accepted < drafts.Count)
        {
            length = Math.Max(1, length / 2);
            if (accepted == 0 && length == 1)
            {
                (pause, nextPause) = (nextPause, Math.Min(LongestPause, 2 * nextPause));
            }
        }
        drafts.Clear();
    }

    bool Find(List<int> tokens, out int from)
    {
        int last = tokens.Count - 1;
        return threes.TryGetValue((tokens[last - 2], tokens[last - 1], tokens[last]), out from)
            || twos.TryGetValue((tokens[last - 1], tokens[last]), out from);
    }

    void Index(List<int> tokens)
    {
        for (; indexed < tokens.Count; indexed++)
        {
            if (indexed >= 2)
            {
                twos[(tokens[indexed - 2], tokens[indexed - 1])] = indexed;
            }
            if (indexed >= 3)
            {
                threes[(tokens[indexed - 3], tokens[indexed - 2], tokens[indexed - 1])] = indexed;
            }
        }
    }
}
