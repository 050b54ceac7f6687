using System.Diagnostics.CodeAnalysis;
using System.Reflection;

namespace KvCuda.Kernels;

/// <summary>One variant to check: who launches it, what is compiled, what it may cost.</summary>
internal sealed record CatalogEntry(string Launcher, KernelSource Source, KernelBudget Budget);

/// <summary>Every kernel of the assembly, found by its launcher. For tests and tools: the engine asks for what it needs.</summary>
internal static class KernelCatalog
{
    /// <summary>All variants of all launchers, by launcher's name.</summary>
    [RequiresUnreferencedCode("Looks at every type of the assembly.")]
    [RequiresDynamicCode("Calls a generic method for every launcher.")]
    public static IReadOnlyList<CatalogEntry> All()
    {
        MethodInfo entries = typeof(KernelCatalog).GetMethod(nameof(Entries), BindingFlags.Static | BindingFlags.NonPublic)!;
        return [.. typeof(IKernel).Assembly.GetTypes()
            .Where(type => !type.IsInterface && !type.IsAbstract && type.IsAssignableTo(typeof(IKernel)))
            .OrderBy(type => type.FullName, StringComparer.Ordinal)
            .SelectMany(type => (CatalogEntry[])entries.MakeGenericMethod(type).Invoke(null, null)!)
            .DistinctBy(entry => entry.Source.ToString())];
    }

    static CatalogEntry[] Entries<TKernel>() where TKernel : IKernel =>
        [.. TKernel.Sources.Select(source => new CatalogEntry(typeof(TKernel).Name, source, source.Budget ?? TKernel.Budget))];
}
