// NVRTC's functions: nvrtcCompileProgram writes the program and its headers to a directory of its own and runs g++ on it.
#include "engine.h"
#include "image.h"
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

namespace {

enum Status { Ok = 0, OutOfMemoryStatus = 1, InvalidInput = 3, InvalidProgram = 4, InvalidOption = 5, CompilationFailed = 6, InternalError = 11 };

struct Program {
    std::string source, name, log;
    std::vector<std::pair<std::string, std::string>> headers;
    std::vector<uint8_t> image;
};

// A directory that goes with everything in it.
struct TemporaryDirectory {
    std::string path;
    std::vector<std::string> files, folders;

    TemporaryDirectory() {
        const char* base = getenv("TMPDIR");
        path = std::string(base != nullptr && *base ? base : "/tmp") + "/kvcuda-host-XXXXXX";
        if (mkdtemp(path.data()) == nullptr) {
            path.clear();
        }
    }
    ~TemporaryDirectory() {
        if (path.empty()) {
            return;
        }
        for (auto& file : files) {
            unlink(file.c_str());
        }
        for (size_t i = folders.size(); i-- > 0;) {
            rmdir(folders[i].c_str());
        }
        rmdir(path.c_str());
    }
    bool write(const std::string& name, const std::string& text) {
        for (size_t slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1)) {
            std::string folder = path + "/" + name.substr(0, slash);
            if (mkdir(folder.c_str(), 0700) == 0) {
                folders.push_back(folder);
            }
        }
        std::string file = expect(name);
        FILE* f = fopen(file.c_str(), "wb");
        bool good = f != nullptr && fwrite(text.data(), 1, text.size(), f) == text.size();
        return f != nullptr && fclose(f) == 0 && good;
    }
    std::string expect(const std::string& name) { // that will be there in the end
        files.push_back(path + "/" + name);
        return files.back();
    }
};

bool readFile(const std::string& path, std::string& text) {
    FILE* f = fopen(path.c_str(), "rb");
    if (f == nullptr) {
        return false;
    }
    char buffer[65536];
    size_t n;
    while ((n = fread(buffer, 1, sizeof buffer, f)) > 0) {
        text.append(buffer, n);
    }
    fclose(f);
    return true;
}

// Runs a program in a directory; its words go to `log`. The exit status, or -1 if it cannot be started.
int runIn(const std::string& directory, const std::vector<std::string>& command, const std::string& log) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addchdir_np(&actions, directory.c_str());
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    std::vector<char*> arguments;
    for (auto& word : command) {
        arguments.push_back((char*)word.c_str());
    }
    arguments.push_back(nullptr);
    pid_t child;
    int failed = posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) {
        return -1;
    }
    int status;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

// Where this library lies; simt.h and its precompiled form lie beside it.
std::string ownPath() {
    Dl_info info;
    return dladdr((void*)&ownPath, &info) != 0 && info.dli_fname != nullptr ? info.dli_fname : "";
}

std::vector<std::string> words(const char* text) {
    std::vector<std::string> list;
    for (const char* p = text; *p;) {
        const char* end = strchrnul(p, ' ');
        if (end > p) {
            list.emplace_back(p, end);
        }
        p = *end ? end + 1 : end;
    }
    return list;
}

bool safeName(const std::string& name) {
    return !name.empty() && name[0] != '/' && name.find("..") == std::string::npos;
}

Status compile(Program& p, const std::vector<std::string>& defines) {
    TemporaryDirectory directory;
    if (directory.path.empty()) {
        p.log = "no temporary directory";
        return InternalError;
    }
    // Everything of the program has internal linkage, so that g++ drops what is not used. The linker's own names tell
    // where .bss is, and simt_self is kept out of it.
    std::string text = "extern \"C\" { __attribute__((section(\".data.simt\"))) SimtThreadView* simt_self = nullptr; }\n"
                       "extern \"C\" __attribute__((visibility(\"hidden\"))) char __bss_start[], _end[];\n"
                       "__attribute__((constructor(101))) static void simt_announce_module() { simt_module(&simt_self, __bss_start, _end); }\n"
                       "namespace {\n#line 1 \"" + p.name + "\"\n" + p.source + "\n}\n";
    bool written = directory.write("program.cpp", text);
    std::string folder = p.name.rfind("kernels/", 0) == 0 ? "kernels/" : "";
    for (auto& header : p.headers) {
        if (!safeName(header.first)) {
            p.log = "a header is named '" + header.first + "'";
            return InvalidInput;
        }
        written = written && directory.write("include/" + header.first, "#pragma once\n#line 1 \"" + folder + header.first + "\"\n" + header.second);
    }
    if (!written) {
        p.log = "cannot write to " + directory.path;
        return InternalError;
    }
    std::string own = ownPath(), home = own.substr(0, own.rfind('/'));
    std::vector<std::string> command = {"g++"};
    for (auto& flag : words(HOST_KERNEL_FLAGS)) {
        command.push_back(flag);
    }
    command.insert(command.end(), {"-include", home + "/simt.h", "-iquote", "include", "-fdebug-prefix-map=" + directory.path + "=."});
    command.insert(command.end(), defines.begin(), defines.end());
    command.insert(command.end(), {"-c", "program.cpp", "-o", "program.o"});
    directory.expect("program.o");
    std::string object = directory.expect("program.so"), log = directory.expect("log");
    int status = runIn(directory.path, command, log);
    if (status == 0) {
        status = runIn(directory.path, {"ld", "-shared", "-z", "now", "--build-id=none", "-o", "program.so", "program.o", own}, log);
    }
    readFile(log, p.log);
    if (status == -1) {
        p.log = "g++ or ld could not be started: the host runner compiles kernels with g++ (Debian: apt-get install g++)";
        return InternalError;
    }
    if (status != 0) {
        return CompilationFailed;
    }
    std::string code;
    if (!readFile(object, code)) {
        p.log += "g++ wrote nothing";
        return InternalError;
    }
    ImageHeader header{};
    memcpy(header.magic, kImageMagic, sizeof header.magic);
    header.checked = kChecked;
    header.wide = strstr(HOST_KERNEL_FLAGS, "x86-64-v3") != nullptr;
    header.bytes = code.size();
    p.image.assign((uint8_t*)&header, (uint8_t*)&header + sizeof header);
    p.image.insert(p.image.end(), code.begin(), code.end());
    return Ok;
}

Status give(const void* data, size_t size, char* to) {
    memcpy(to, data, size);
    return Ok;
}

} // namespace

EXPORT int nvrtcVersion(int* major, int* minor) {
    *major = 12;
    *minor = 4;
    return Ok;
}

EXPORT const char* nvrtcGetErrorString(int status) {
    switch (status) {
    case Ok: return "NVRTC_SUCCESS";
    case InvalidInput: return "NVRTC_ERROR_INVALID_INPUT";
    case InvalidProgram: return "NVRTC_ERROR_INVALID_PROGRAM";
    case InvalidOption: return "NVRTC_ERROR_INVALID_OPTION";
    case CompilationFailed: return "NVRTC_ERROR_COMPILATION";
    case InternalError: return "NVRTC_ERROR_INTERNAL_ERROR";
    default: return "NVRTC_ERROR unknown";
    }
}

EXPORT int nvrtcGetNumSupportedArchs(int* count) { *count = 2; return Ok; }
EXPORT int nvrtcGetSupportedArchs(int* list) {
    list[0] = 80;
    list[1] = 90;
    return Ok;
}

EXPORT int nvrtcCreateProgram(Program** program, const char* source, const char* name, int headers, const char** texts, const char** names) {
    auto* p = new Program;
    p->source = source;
    p->name = name != nullptr && *name ? name : "default_program";
    for (int i = 0; i < headers; i++) {
        p->headers.push_back({names[i], texts[i]});
    }
    *program = p;
    return Ok;
}

EXPORT int nvrtcDestroyProgram(Program** program) {
    delete *program;
    *program = nullptr;
    return Ok;
}

// Only definitions matter here; what else NVRTC would take is accepted.
EXPORT int nvrtcCompileProgram(Program* p, int count, const char** options) {
    std::vector<std::string> defines;
    for (int i = 0; i < count; i++) {
        std::string option = options[i];
        for (const char* prefix : {"--define-macro=", "-D", "--undefine-macro=", "-U"}) {
            if (option.rfind(prefix, 0) == 0) {
                std::string rest = option.substr(strlen(prefix));
                bool apart = rest.empty() && i + 1 < count; // "-D", "NAME=1"
                defines.push_back((strchr("-U", prefix[1]) || prefix[2] == 'u' ? "-U" : "-D") + (apart ? options[++i] : rest));
                break;
            }
        }
    }
    try {
        return compile(*p, defines);
    } catch (const std::exception& e) {
        p->log = e.what();
        return InternalError;
    }
}

EXPORT int nvrtcGetCUBINSize(Program* p, size_t* size) { *size = p->image.size(); return Ok; }
EXPORT int nvrtcGetCUBIN(Program* p, char* image) { return give(p->image.data(), p->image.size(), image); }
EXPORT int nvrtcGetPTXSize(Program*, size_t* size) { *size = 1; return Ok; }
EXPORT int nvrtcGetPTX(Program*, char* text) { return give("", 1, text); }
EXPORT int nvrtcGetProgramLogSize(Program* p, size_t* size) { *size = p->log.size() + 1; return Ok; }
EXPORT int nvrtcGetProgramLog(Program* p, char* text) { return give(p->log.c_str(), p->log.size() + 1, text); }

// Tells one build of the runner and its headers from another.
EXPORT const char* kvcudaHostStamp() { return HOST_STAMP; }
