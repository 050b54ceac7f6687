using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;

namespace KvCuda.Kernels;

/// <summary>
/// Lets the CUDA compiler prove that a struct of C# and the struct of the same name in CUDA have the same bytes: size,
/// and for each field its name, offset and kind. C#'s <c>RmsNorm.Args.PageTable</c> is CUDA's <c>RmsNormArgs::page_table</c>.
/// The assertions are appended to the kernel's source, so that a kernel that has another idea of its arguments does not
/// compile. Fields are nint (any pointer), int, uint, long, ulong, float, or a struct registered with <see cref="Part"/>.
/// </summary>
internal static class ArgsContract
{
    /// <summary>What a trimmer must keep of an argument struct.</summary>
    public const DynamicallyAccessedMemberTypes Fields =
        DynamicallyAccessedMemberTypes.PublicFields | DynamicallyAccessedMemberTypes.NonPublicFields;

    /// <summary>The file that messages about the contract name.</summary>
    const string Name = "argument contract";

    const BindingFlags Instance = BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic;

    static readonly ConcurrentDictionary<Type, (string Path, long Offset, Type Type)[]> parts = new();
    static readonly ConcurrentDictionary<(Type, string), string> contracts = new();

    // NVRTC has the builtin from 13.4 on; before, it folds __INTADDR__ of a member of a null pointer (libcu++'s offsetof does
    // the same: NVIDIA/cccl pull request 11438). g++, which is what defines __GNUC__, has the builtin.
    const string Prelude = """

        #line 1 "argument contract"
        #if defined(__GNUC__) || __CUDACC_VER_MAJOR__ > 13 || (__CUDACC_VER_MAJOR__ == 13 && __CUDACC_VER_MINOR__ >= 4)
        #define KVCUDA_OFFSET(type, field) __builtin_offsetof(type, field)
        #else
        #define KVCUDA_OFFSET(type, field) __INTADDR__(&((type*)0)->field)
        #endif
        #ifndef KVCUDA_KINDS
        #define KVCUDA_KINDS
        template <class T> struct kvcuda_kind { static constexpr int value = 0; };
        template <class T> struct kvcuda_kind<T*> { static constexpr int value = 1; };
        template <> struct kvcuda_kind<int> { static constexpr int value = 2; };
        template <> struct kvcuda_kind<unsigned> { static constexpr int value = 3; };
        template <> struct kvcuda_kind<long> { static constexpr int value = 4; };
        template <> struct kvcuda_kind<long long> { static constexpr int value = 4; };
        template <> struct kvcuda_kind<unsigned long> { static constexpr int value = 5; };
        template <> struct kvcuda_kind<unsigned long long> { static constexpr int value = 5; };
        template <> struct kvcuda_kind<float> { static constexpr int value = 6; };
        #endif

        """;

    /// <summary>
    /// True if what the compiler complains about is the way in which the contract is written (a version that knows neither
    /// spelling of offsetof), and not the structs: then a program without the contract says what else is wrong.
    /// </summary>
    public static bool IsNotUnderstood(string log)
    {
        return (Has("\"__INTADDR") || Has("\"__builtin_offsetof\"") || Has("must have a constant value"))
        && Has(Name + "(") && !Has("static assertion failed") && !Has("has no member");

        bool Has(string text) => log.Contains(text, StringComparison.Ordinal);
    }

    /// <summary>Makes <typeparamref name="TPart"/> usable as a field: a group of arguments that several kernels share.</summary>
    public static void Part<[DynamicallyAccessedMembers(Fields)] TPart>() where TPart : unmanaged =>
        parts.GetOrAdd(typeof(TPart), static _ => Flatten<TPart>());

    /// <summary>The assertions for the struct that the kernel <paramref name="entry"/> takes.</summary>
    public static string For<[DynamicallyAccessedMembers(Fields)] TArgs>(string entry) where TArgs : unmanaged
    {
        if (!contracts.TryGetValue((typeof(TArgs), entry), out string? text))
        {
            contracts[(typeof(TArgs), entry)] = text = Write<TArgs>(PascalCase(entry) + "Args");
        }
        return text;
    }

    static string Write<[DynamicallyAccessedMembers(Fields)] TArgs>(string name) where TArgs : unmanaged
    {
        var text = new StringBuilder(Prelude);
        foreach ((string path, long offset, Type type) in Flatten<TArgs>())
        {
            (int kind, string word) = Kind(type)!.Value;
            text.Append($"static_assert(KVCUDA_OFFSET({name}, {path}) == {offset}, \"{name}.{path}: at byte {offset} in C#\");\n");
            text.Append($"static_assert(kvcuda_kind<decltype((({name}*)0)->{path})>::value == {kind}, \"{name}.{path}: {word} in C#\");\n");
        }
        int size = Unsafe.SizeOf<TArgs>();
        text.Append($"static_assert(sizeof({name}) == {size}, \"{name}: {size} bytes in C#\");\n");
        return text.ToString();
    }

    static (string Path, long Offset, Type Type)[] Flatten<[DynamicallyAccessedMembers(Fields)] T>() where T : unmanaged
    {
        var fields = new List<(string, long, Type)>();
        foreach (FieldInfo field in typeof(T).GetFields(Instance))
        {
            string path = SnakeCase(field.Name);
            long offset = Marshal.OffsetOf<T>(field.Name);
            if (Kind(field.FieldType) is not null)
            {
                fields.Add((path, offset, field.FieldType));
            }
            else if (parts.TryGetValue(field.FieldType, out (string Path, long Offset, Type Type)[]? inner))
            {
                fields.AddRange(inner.Select(f => ($"{path}.{f.Path}", offset + f.Offset, f.Type)));
            }
            else
            {
                throw new NotSupportedException(
                    $"{typeof(T)}.{field.Name} is {field.FieldType}: kernel arguments are nint, int, uint, long, ulong, float, " +
                    $"or a struct that was registered with {nameof(ArgsContract)}.{nameof(Part)}.");
            }
        }
        return [.. fields];
    }

    static (int Kind, string Word)? Kind(Type type) =>
        type == typeof(nint) ? (1, "a pointer")
        : type == typeof(int) ? (2, "int")
        : type == typeof(uint) ? (3, "unsigned")
        : type == typeof(long) ? (4, "a signed 64-bit integer")
        : type == typeof(ulong) ? (5, "an unsigned 64-bit integer")
        : type == typeof(float) ? (6, "float")
        : null;

    /// <summary>PageTable -> page_table.</summary>
    public static string SnakeCase(string name)
    {
        var text = new StringBuilder(name.Length + 4);
        for (int i = 0; i < name.Length; i++)
        {
            if (char.IsUpper(name[i]) && i > 0)
            {
                text.Append('_');
            }
            text.Append(char.ToLowerInvariant(name[i]));
        }
        return text.ToString();
    }

    /// <summary>rms_norm -> RmsNorm.</summary>
    public static string PascalCase(string name) =>
        string.Concat(name.Split('_').Select(word => word.Length == 0 ? "" : char.ToUpperInvariant(word[0]) + word[1..]));
}
