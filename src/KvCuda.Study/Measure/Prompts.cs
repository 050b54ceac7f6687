// Prompts of random tokens, the same on every machine.
namespace KvCuda.Study;

/// <summary>Prompts that every contender gets alike.</summary>
internal static class Prompts
{
    public static int[] Random(int seed, int tokens, int vocabulary)
    {
        var random = new Random(seed);
        int[] prompt = new int[tokens];
        for (int i = 0; i < tokens; i++)
        {
            prompt[i] = random.Next(vocabulary);
        }
        return prompt;
    }
}
