using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;

namespace KvCuda.Interop;

/// <summary>NVRTC's functions that KvCuda calls, under their own names. Safe to use from several threads at once.</summary>
internal sealed unsafe class Nvrtc : NativeFunctions
{
    const int CompilationFailed = 6;

    readonly delegate* unmanaged<int*, int*, int> nvrtcVersion;
    readonly delegate* unmanaged<int, byte*> nvrtcGetErrorString;
    readonly delegate* unmanaged<nint*, byte*, byte*, int, byte**, byte**, int> nvrtcCreateProgram;
    readonly delegate* unmanaged<nint*, int> nvrtcDestroyProgram;
    readonly delegate* unmanaged<nint, int, byte**, int> nvrtcCompileProgram;
    readonly delegate* unmanaged<nint, nuint*, int> nvrtcGetCUBINSize;
    readonly delegate* unmanaged<nint, byte*, int> nvrtcGetCUBIN;
    readonly delegate* unmanaged<nint, nuint*, int> nvrtcGetProgramLogSize;
    readonly delegate* unmanaged<nint, byte*, int> nvrtcGetProgramLog;

    public Nvrtc(nint library, string path) : base(library, path)
    {
        nvrtcVersion = (delegate* unmanaged<int*, int*, int>)Export("nvrtcVersion");
        nvrtcGetErrorString = (delegate* unmanaged<int, byte*>)Export("nvrtcGetErrorString");
        nvrtcCreateProgram = (delegate* unmanaged<nint*, byte*, byte*, int, byte**, byte**, int>)Export("nvrtcCreateProgram");
        nvrtcDestroyProgram = (delegate* unmanaged<nint*, int>)Export("nvrtcDestroyProgram");
        nvrtcCompileProgram = (delegate* unmanaged<nint, int, byte**, int>)Export("nvrtcCompileProgram");
        nvrtcGetCUBINSize = (delegate* unmanaged<nint, nuint*, int>)Export("nvrtcGetCUBINSize");
        nvrtcGetCUBIN = (delegate* unmanaged<nint, byte*, int>)Export("nvrtcGetCUBIN");
        nvrtcGetProgramLogSize = (delegate* unmanaged<nint, nuint*, int>)Export("nvrtcGetProgramLogSize");
        nvrtcGetProgramLog = (delegate* unmanaged<nint, byte*, int>)Export("nvrtcGetProgramLog");
        int major, minor;
        Check(nvrtcVersion(&major, &minor));
        Version = new(major, minor);
    }

    /// <summary>The compiler's version: 12.4.</summary>
    public Version Version { get; }

    /// <summary>Compiles one program to machine code.</summary>
    /// <param name="program">its text</param>
    /// <param name="name">the file name that messages carry</param>
    /// <param name="headers">what #include finds: name as included, text</param>
    /// <param name="options">the compiler's options</param>
    /// <param name="log">what the compiler said, also on success</param>
    /// <returns>the cubin, or null if the program is wrong; then the log says why</returns>
    public byte[]? Compile(
        string program, string name, IReadOnlyList<(string Name, string Text)> headers, IReadOnlyList<string> options, out string log)
    {
        using var strings = new CStrings();
        byte** names = strings.Array(headers.Select(h => h.Name));
        byte** texts = strings.Array(headers.Select(h => h.Text));
        byte** arguments = strings.Array(options);
        nint handle;
        Check(nvrtcCreateProgram(&handle, strings.One(program), strings.One(name), headers.Count, texts, names));
        try
        {
            int result = nvrtcCompileProgram(handle, options.Count, arguments);
            log = Log(handle);
            if (result == CompilationFailed)
            {
                return null;
            }
            if (result != 0)
            {
                throw Failure(result, "nvrtcCompileProgram(" + name + ")", log);
            }
            nuint size;
            Check(nvrtcGetCUBINSize(handle, &size));
            byte[] cubin = new byte[checked((int)size)];
            fixed (byte* bytes = cubin)
            {
                Check(nvrtcGetCUBIN(handle, bytes));
            }
            return cubin;
        }
        finally
        {
            _ = nvrtcDestroyProgram(&handle);
        }
    }

    string Log(nint handle)
    {
        nuint size;
        Check(nvrtcGetProgramLogSize(handle, &size));
        byte[] text = new byte[checked((int)size)];
        fixed (byte* bytes = text)
        {
            if (size > 0)
            {
                Check(nvrtcGetProgramLog(handle, bytes));
            }
        }
        return Encoding.UTF8.GetString(text).TrimEnd('\0', '\n', ' ');
    }

    void Check(int result, [CallerArgumentExpression(nameof(result))] string call = "")
    {
        if (result != 0)
        {
            throw Failure(result, call, "");
        }
    }

    DeviceException Failure(int result, string call, string log)
    {
        string name = Marshal.PtrToStringUTF8((nint)nvrtcGetErrorString(result)) ?? "an unknown result";
        return new($"{call} of {Path} returned {name} ({result}). {log} {LastError()}".TrimEnd());
    }

    /// <summary>Zero-terminated UTF-8 texts that live until disposal.</summary>
    sealed class CStrings : IDisposable
    {
        readonly List<nint> blocks = [];

        public byte* One(string text)
        {
            byte* bytes = (byte*)Marshal.StringToCoTaskMemUTF8(text);
            blocks.Add((nint)bytes);
            return bytes;
        }

        public byte** Array(IEnumerable<string> texts)
        {
            nint[] pointers = [.. texts.Select(text => (nint)One(text))];
            byte** array = (byte**)Marshal.AllocCoTaskMem((pointers.Length + 1) * sizeof(nint));
            blocks.Add((nint)array);
            for (int i = 0; i < pointers.Length; i++)
            {
                array[i] = (byte*)pointers[i];
            }
            return array;
        }

        public void Dispose() => blocks.ForEach(Marshal.FreeCoTaskMem);
    }
}
