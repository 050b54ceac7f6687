using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KvCuda.PeerBench;

/// <summary>
/// The functions of llama.cpp's C interface that the bench calls, from prebuilt shared objects. The parameter structs change between
/// versions, so they are kept as bytes and only the fields at their start are set; <see cref="Open"/> refuses a library whose
/// defaults are not found where they are expected.
/// </summary>
internal sealed unsafe class LlamaCpp
{
    /// <summary>A struct passed by value whose tail is not looked at.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 1024)]
    public struct Parameters
    {
        fixed uint words[256];

        [System.Diagnostics.CodeAnalysis.UnscopedRef]
        public ref uint this[int index] => ref words[index];
    }

    /// <summary>llama_batch.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Batch
    {
        public int Count;
        public int* Tokens;
        public float* Embeddings;
        public int* Positions;
        public int* SequenceCounts;
        public int** Sequences;
        public sbyte* Wanted;
    }

    // Places in llama_context_params.
    public const int Context = 0, BatchTokens = 1, StepTokens = 2, Sequences = 3;

    readonly nint llama, ggml, backends;

    LlamaCpp(string folder)
    {
        backends = NativeLibrary.Load(Find(folder, "libggml-base"));
        ggml = NativeLibrary.Load(Find(folder, "libggml."));
        llama = NativeLibrary.Load(Find(folder, "libllama."));
        ((delegate* unmanaged<delegate* unmanaged[Cdecl]<int, byte*, void*, void>, void*, void>)F(llama, "llama_log_set"))(&Log, null);
        nint name = Marshal.StringToCoTaskMemUTF8(folder);
        ((delegate* unmanaged<nint, void>)F(ggml, "ggml_backend_load_all_from_path"))(name);
        Marshal.FreeCoTaskMem(name);
        Parameters defaults = ContextDefaults();
        if (defaults[Context] != 512 || defaults[BatchTokens] != 2048 || defaults[StepTokens] != 512 || defaults[Sequences] != 1)
        {
            throw new DeviceException($"{folder} holds a llama.cpp whose parameters are laid out in another way than this bench knows.");
        }
    }

    public static LlamaCpp Open(string folder) => new(folder);

    static string Find(string folder, string prefix) => Directory.EnumerateFiles(folder, prefix + "*.so").FirstOrDefault()
        ?? throw new DeviceException($"{folder} holds no {prefix}*.so.");

    static nint F(nint library, string name) => NativeLibrary.GetExport(library, name);

    // Warnings and chatter are dropped; level 4 is an error.
    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static void Log(int level, byte* text, void* user)
    {
        if (level == 4)
        {
            Console.Error.Write(Marshal.PtrToStringUTF8((nint)text));
        }
    }

    /// <summary>Which build of its CPU backend it chose for this machine, and the instruction sets that it says it uses.</summary>
    public string Describe()
    {
        string text = Marshal.PtrToStringUTF8(((delegate* unmanaged<nint>)F(llama, "llama_print_system_info"))()) ?? "";
        string build = File.ReadLines("/proc/self/maps").Select(line => Path.GetFileNameWithoutExtension(line))
            .FirstOrDefault(name => name.StartsWith("libggml-cpu-", StringComparison.Ordinal)) ?? "libggml-cpu";
        return $"{build["libggml-".Length..]}: {string.Join(' ', text.Split('|', ':').Select(part => part.Trim()).Where(part => part.EndsWith(" = 1", StringComparison.Ordinal)).Select(part => part[..^4]))}";
    }

    public Parameters ContextDefaults() =>
        ((delegate* unmanaged<Parameters>)F(llama, "llama_context_default_params"))();

    public nint LoadModel(string path)
    {
        Parameters defaults = ((delegate* unmanaged<Parameters>)F(llama, "llama_model_default_params"))();
        nint name = Marshal.StringToCoTaskMemUTF8(path);
        nint model = ((delegate* unmanaged<nint, Parameters, nint>)F(llama, "llama_model_load_from_file"))(name, defaults);
        Marshal.FreeCoTaskMem(name);
        return model != 0 ? model : throw new DeviceException($"llama.cpp could not load {path}.");
    }

    /// <summary>A context of its own thread pool, as llama.cpp's own programs make them.</summary>
    public nint NewContext(nint model, int tokens, int sequences, int threads)
    {
        Parameters parameters = ContextDefaults();
        parameters[Context] = (uint)tokens;
        parameters[Sequences] = (uint)sequences;
        nint context = ((delegate* unmanaged<nint, Parameters, nint>)F(llama, "llama_init_from_model"))(model, parameters);
        if (context == 0)
        {
            throw new DeviceException($"llama.cpp could not make a context of {tokens} tokens.");
        }
        ((delegate* unmanaged<nint, int, int, void>)F(llama, "llama_set_n_threads"))(context, threads, threads);
        AttachThreads(context, threads);
        return context;
    }

    // Without a pool, every step would start and end its threads.
    void AttachThreads(nint context, int threads)
    {
        string? path = File.ReadLines("/proc/self/maps").Where(line => line.Contains("libggml-cpu", StringComparison.Ordinal))
            .Select(line => line[line.IndexOf('/')..]).FirstOrDefault();
        if (path is null || !NativeLibrary.TryGetExport(NativeLibrary.Load(path), "ggml_threadpool_new", out nint make))
        {
            return;
        }
        Parameters parameters = ((delegate* unmanaged<int, Parameters>)F(backends, "ggml_threadpool_params_default"))(threads);
        nint pool = ((delegate* unmanaged<Parameters*, nint>)make)(&parameters);
        ((delegate* unmanaged<nint, nint, nint, void>)F(llama, "llama_attach_threadpool"))(context, pool, pool);
    }

    public int Vocabulary(nint model)
    {
        nint vocabulary = ((delegate* unmanaged<nint, nint>)F(llama, "llama_model_get_vocab"))(model);
        return ((delegate* unmanaged<nint, int>)F(llama, "llama_vocab_n_tokens"))(vocabulary);
    }

    public void Decode(nint context, in Batch batch)
    {
        int status = ((delegate* unmanaged<nint, Batch, int>)F(llama, "llama_decode"))(context, batch);
        if (status != 0)
        {
            throw new DeviceException($"llama_decode failed with {status}.");
        }
    }

    public float* Logits(nint context, int row) =>
        ((delegate* unmanaged<nint, int, float*>)F(llama, "llama_get_logits_ith"))(context, row);

    /// <summary>Forgets a sequence's tokens from a position on.</summary>
    public void Forget(nint context, int sequence, int from)
    {
        nint memory = ((delegate* unmanaged<nint, nint>)F(llama, "llama_get_memory"))(context);
        ((delegate* unmanaged<nint, int, int, int, byte>)F(llama, "llama_memory_seq_rm"))(memory, sequence, from, -1);
    }

    public void Save(nint context, string path, ReadOnlySpan<int> tokens)
    {
        nint name = Marshal.StringToCoTaskMemUTF8(path);
        fixed (int* ids = tokens)
        {
            ((delegate* unmanaged<nint, nint, int, int*, nint, nint>)F(llama, "llama_state_seq_save_file"))(context, name, 0, ids, tokens.Length);
        }
        Marshal.FreeCoTaskMem(name);
    }

    /// <summary>Whether the file held sequence 0 at such a length.</summary>
    public bool TryRestore(nint context, string path, int tokens)
    {
        if (!File.Exists(path))
        {
            return false;
        }
        nint name = Marshal.StringToCoTaskMemUTF8(path);
        int[] ids = new int[tokens];
        nint count = 0;
        nint read;
        fixed (int* destination = ids)
        {
            read = ((delegate* unmanaged<nint, nint, int, int*, nint, nint*, nint>)F(llama, "llama_state_seq_load_file"))(
                context, name, 0, destination, tokens, &count);
        }
        Marshal.FreeCoTaskMem(name);
        return read != 0 && count == tokens;
    }

    public void Free(nint context) => ((delegate* unmanaged<nint, void>)F(llama, "llama_free"))(context);
}
