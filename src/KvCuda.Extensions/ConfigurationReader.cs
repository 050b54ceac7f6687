// Reads options from configuration without reflection, so that a trimmed or AOT-compiled application has them too.
using System.Globalization;
using KvCuda.Engine;
using Microsoft.Extensions.Configuration;

namespace KvCuda.Extensions;

/// <summary>
/// One section of the configuration on its way into a record: each field is asked for by name, an absent one leaves what is
/// there, and what nobody asked for is an error.
/// </summary>
sealed class ConfigurationReader(IConfiguration section, string path)
{
    readonly HashSet<string> known = new(StringComparer.OrdinalIgnoreCase);

    public string Text(string name, string otherwise) => Raw(name) ?? otherwise;

    /// <summary>A text, or null where it is not given or empty.</summary>
    public string? TextOrNull(string name, string? otherwise) => Raw(name) is not string text ? otherwise : text.Length == 0 ? null : text;

    public T Value<T>(string name, T otherwise) where T : struct, ISpanParsable<T> => Raw(name) is not string text ? otherwise : Parse<T>(name, text);

    public T? Value<T>(string name, T? otherwise) where T : struct, ISpanParsable<T> =>
        Raw(name) is not string text ? otherwise : text.Length == 0 ? null : Parse<T>(name, text);

    public T Choice<T>(string name, T otherwise) where T : struct, Enum => Raw(name) is not string text ? otherwise
        : Enum.TryParse(text, ignoreCase: true, out T value) && Enum.IsDefined(value) ? value
        : throw Wrong(name, text, string.Join(", ", Enum.GetNames<T>()));

    public T Parsed<T>(string name, T otherwise, Func<string, T> parse) => Raw(name) is not string text ? otherwise : parse(text);

    /// <summary>A list: "NAME:0", "NAME:1", ..</summary>
    public IReadOnlyList<T> List<T>(string name, IReadOnlyList<T> otherwise, Func<IConfigurationSection, T> item)
    {
        known.Add(name);
        IConfigurationSection[] items = [.. section.GetSection(name).GetChildren()];
        return items.Length == 0 ? otherwise : [.. items.Select(item)];
    }

    /// <summary>A record in a section of its own.</summary>
    public T Part<T>(string name, T otherwise, Func<ConfigurationReader, T, T> read)
    {
        known.Add(name);
        IConfigurationSection inner = section.GetSection(name);
        if (!inner.Exists())
        {
            return otherwise;
        }
        var reader = new ConfigurationReader(inner, $"{path}:{name}");
        T value = read(reader, otherwise);
        reader.ExpectNoMore();
        return value;
    }

    /// <exception cref="InvalidRequestException">There is something in the section that nobody asked for.</exception>
    public void ExpectNoMore()
    {
        foreach (IConfigurationSection child in section.GetChildren())
        {
            if (!known.Contains(child.Key))
            {
                throw new InvalidRequestException($"The configuration has {path}:{child.Key}, which is no option; options there are "
                    + $"{string.Join(", ", known.Order(StringComparer.Ordinal))}.");
            }
        }
    }

    string? Raw(string name)
    {
        known.Add(name);
        IConfigurationSection found = section.GetSection(name);
        return found.GetChildren().Any()
            ? throw new InvalidRequestException($"The configuration has a section at {path}:{name}, where one value belongs.") : found.Value;
    }

    T Parse<T>(string name, string text) where T : struct, ISpanParsable<T> =>
        T.TryParse(text, CultureInfo.InvariantCulture, out T value) ? value : throw Wrong(name, text, $"a {typeof(T).Name}");

    InvalidRequestException Wrong(string name, string text, string expected) =>
        new($"The configuration has '{text}' at {path}:{name}; it should be {expected}.");
}
