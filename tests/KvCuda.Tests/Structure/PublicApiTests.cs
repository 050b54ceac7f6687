using System.Reflection;
using System.Text;
using KvCuda.Engine;
using KvCuda.Extensions;
using KvCuda.Server;

namespace KvCuda.Tests.Structure;

/// <summary>The public surface is a file that is reviewed: a change of the one is a change of the other.</summary>
public class PublicApiTests
{
    /// <summary>KVCUDA_UPDATE=1 rewrites the file; the diff is then reviewed like code.</summary>
    [Theory]
    [InlineData(typeof(KvEngine))]
    [InlineData(typeof(KvChatClient))]
    [InlineData(typeof(KvServer))]
    [InlineData(typeof(KvCuda.Statistics.Welch))]
    public void The_public_api_is_what_the_reviewed_file_says(Type ofAssembly)
    {
        string path = Path.Combine(Repository.Root, "src", ofAssembly.Assembly.GetName().Name!, "PublicApi.txt");
        string actual = Describe(ofAssembly.Assembly);
        if (Environment.GetEnvironmentVariable("KVCUDA_UPDATE") == "1")
        {
            File.WriteAllText(path, actual);
        }
        string expected = File.Exists(path) ? File.ReadAllText(path).ReplaceLineEndings("\n") : "";
        string[] gone = [.. expected.Split('\n').Except(actual.Split('\n'))], added = [.. actual.Split('\n').Except(expected.Split('\n'))];
        Assert.True(expected == actual,
            "The public API changed. If that is meant, run the tests once with KVCUDA_UPDATE=1 and review the diff.\n"
            + string.Join("\n", gone.Select(line => "- " + line).Concat(added.Select(line => "+ " + line))));
    }

    static string Describe(Assembly assembly)
    {
        StringBuilder text = new();
        foreach (Type type in assembly.GetExportedTypes().OrderBy(type => type.FullName, StringComparer.Ordinal))
        {
            text.Append(Kind(type)).Append(' ').Append(Name(type)).Append('\n');
            foreach (string member in Members(type).Order(StringComparer.Ordinal))
            {
                text.Append("    ").Append(member).Append('\n');
            }
        }
        return text.ToString();
    }

    static IEnumerable<string> Members(Type type)
    {
        const BindingFlags all = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static
            | BindingFlags.DeclaredOnly;
        foreach (ConstructorInfo constructor in type.GetConstructors(all).Where(Visible))
        {
            yield return $"new({Parameters(constructor)})";
        }
        foreach (MethodInfo method in type.GetMethods(all).Where(Visible).Where(method => !method.IsSpecialName || method.Name.StartsWith("op_", StringComparison.Ordinal)))
        {
            if (!method.Name.Contains('<', StringComparison.Ordinal))
            {
                yield return $"{(method.IsStatic ? "static " : "")}{Name(method.ReturnType)} {method.Name}({Parameters(method)})";
            }
        }
        foreach (PropertyInfo property in type.GetProperties(all).Where(property => property.GetAccessors(true).Any(Visible)))
        {
            bool settable = property.SetMethod is { } set && Visible(set);
            yield return $"{Name(property.PropertyType)} {property.Name} {{ get;{(settable ? " set;" : "")} }}";
        }
        foreach (FieldInfo field in type.GetFields(all).Where(field => field.IsPublic && !field.IsSpecialName))
        {
            yield return type.IsEnum ? field.Name : $"{Name(field.FieldType)} {field.Name}";
        }
    }

    static bool Visible(MethodBase method) => method.IsPublic || method.IsFamily || method.IsFamilyOrAssembly;

    static string Parameters(MethodBase method) =>
        string.Join(", ", method.GetParameters().Select(parameter => $"{Name(parameter.ParameterType)} {parameter.Name}"));

    static string Kind(Type type) => type.IsEnum ? "enum" : type.IsValueType ? "struct" : type.IsInterface ? "interface"
        : type is { IsAbstract: true, IsSealed: true } ? "static class" : type.IsAbstract ? "abstract class" : "class";

    static string Name(Type type)
    {
        if (type.IsByRef)
        {
            return Name(type.GetElementType()!) + "&";
        }
        if (type.IsArray)
        {
            return Name(type.GetElementType()!) + "[]";
        }
        string name = type.IsGenericParameter || type.Namespace?.StartsWith("KvCuda", StringComparison.Ordinal) != true
            ? type.Name : type.FullName ?? type.Name;
        return type.IsGenericType
            ? name.Split('`')[0] + "<" + string.Join(", ", type.GetGenericArguments().Select(Name)) + ">"
            : name;
    }
}
