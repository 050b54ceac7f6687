namespace KvCuda.Kernels;

/// <summary>One value as a key of <see cref="Variants{TKey, TArgs}"/>: an enumeration has no equality of its own that does not box.</summary>
internal readonly record struct KeyOf<T>(T Value) where T : struct;
