using System.CommandLine;
using System.Text.RegularExpressions;
using KvCuda.Cli;

namespace KvCuda.Tests.Documents;

/// <summary>What the documents say is true: their code is in programs that run, their links lead somewhere, their commands exist.</summary>
public partial class DocumentTests
{
    /// <summary>Pages whose code a reader types into the sources, where no program can hold it.</summary>
    static bool IsGuide(string path) => Path.GetFileName(path).StartsWith("adding-", StringComparison.Ordinal);

    static string[] Pages() =>
    [
        .. Directory.GetFiles(Repository.Root, "*.md"),
        .. Directory.GetFiles(Path.Combine(Repository.Root, "docs"), "*.md", SearchOption.AllDirectories),
        .. Directory.GetFiles(Path.Combine(Repository.Root, "examples"), "*.md"),
    ];

    [Fact]
    public void Every_snippet_of_the_front_page_and_the_documentation_stands_in_an_example_that_runs()
    {
        Assert.SkipUnless(Directory.Exists(Path.Combine(Repository.Root, "examples")), "a bundle carries no examples");
        string[] programs = [.. Directory.GetFiles(Path.Combine(Repository.Root, "examples"), "Program.cs", SearchOption.AllDirectories)
            .Select(path => Lines(File.ReadAllText(path)))];
        foreach (string page in Pages().Where(page => !IsGuide(page)))
        {
            foreach (Match snippet in Snippet().Matches(File.ReadAllText(page)))
            {
                string code = Lines(snippet.Groups[1].Value);
                Assert.True(programs.Any(program => program.Contains(code, StringComparison.Ordinal)),
                    $"{Path.GetFileName(page)} shows code that no examples/*/Program.cs has:\n{code}");
            }
        }
    }

    [Fact]
    public void Every_link_of_the_documentation_leads_to_a_file()
    {
        Assert.SkipUnless(Directory.Exists(Path.Combine(Repository.Root, "docs")), "a bundle carries no documentation");
        foreach (string page in Pages())
        {
            foreach (Match link in Link().Matches(File.ReadAllText(page)))
            {
                string target = link.Groups[1].Value.Split('#')[0];
                if (target.Length > 0 && !target.Contains("://", StringComparison.Ordinal))
                {
                    Assert.True(Path.Exists(Path.Combine(Path.GetDirectoryName(page)!, target)), $"{Path.GetFileName(page)} links to {target}");
                }
            }
        }
    }

    [Fact]
    public void Every_command_of_the_documentation_is_understood_by_the_program()
    {
        Assert.SkipUnless(Directory.Exists(Path.Combine(Repository.Root, "docs")), "a bundle carries no documentation");
        RootCommand root = new();
        foreach (Command command in Commands.All())
        {
            root.Subcommands.Add(command);
        }
        foreach (string page in Pages().Where(page => !IsGuide(page)))
        {
            foreach (Match line in CommandLineInText().Matches(File.ReadAllText(page)))
            {
                ParseResult parsed = root.Parse(line.Groups[1].Value.Split('#')[0].Trim());
                Assert.True(parsed.Errors.Count == 0,
                    $"{Path.GetFileName(page)}: {line.Value.Trim()}: {string.Join(' ', parsed.Errors.Select(error => error.Message))}");
            }
        }
    }

    static string Lines(string text) => string.Join('\n', text.Split('\n').Select(line => line.Trim())
        .Where(line => line.Length > 0 && !line.StartsWith("using ", StringComparison.Ordinal)));

    [GeneratedRegex(@"```csharp\n(.*?)```", RegexOptions.Singleline)]
    private static partial Regex Snippet();

    [GeneratedRegex(@"\]\(([^)\s]+)\)")]
    private static partial Regex Link();

    [GeneratedRegex(@"^    (?:\$ )?\./build\.sh kvcuda ([a-z].*)$", RegexOptions.Multiline)]
    private static partial Regex CommandLineInText();
}
