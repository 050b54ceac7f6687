// Compiled kernels in the process. A module is loaded once per host thread that runs it, from an anonymous file, so that
// each copy has its own __shared__ variables; nothing is left on disk.
#include "engine.h"
#include "image.h"
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <mutex>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

namespace {

std::mutex loading;
thread_local ModuleCopy* loadingCopy = nullptr;
std::vector<ModuleCopy*> copies; // all that are loaded, for finding code

int findRange(dl_phdr_info* info, size_t, void* data) {
    auto* c = (ModuleCopy*)data;
    if (info->dlpi_addr != c->low) {
        return 0;
    }
    for (int i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type == PT_LOAD) {
            uintptr_t end = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;
            c->high = end > c->high ? end : c->high;
        }
    }
    return 1;
}

std::unique_ptr<ModuleCopy> load(const std::vector<uint8_t>& image, std::string& error) {
    auto c = std::make_unique<ModuleCopy>();
    c->file = memfd_create("kvcuda-kernel", MFD_CLOEXEC);
    const uint8_t* bytes = image.data() + sizeof(ImageHeader);
    size_t size = image.size() - sizeof(ImageHeader), done = 0;
    while (c->file >= 0 && done < size) {
        ssize_t n = write(c->file, bytes + done, size - done);
        if (n <= 0) {
            break;
        }
        done += (size_t)n;
    }
    if (c->file < 0 || done < size) {
        error = "no anonymous file for a kernel's code";
        return nullptr;
    }
    std::lock_guard<std::mutex> guard(loading);
    loadingCopy = c.get();
    c->handle = dlopen(format("/proc/self/fd/%d", c->file).c_str(), RTLD_NOW | RTLD_LOCAL);
    loadingCopy = nullptr;
    if (c->handle == nullptr) {
        error = format("the image does not load: %s", dlerror());
        return nullptr;
    }
    if (c->self == nullptr) {
        error = "the image was not made by the host runner";
        return nullptr;
    }
    link_map* map;
    dlinfo(c->handle, RTLD_DI_LINKMAP, &map);
    c->low = map->l_addr;
    dl_iterate_phdr(findRange, c.get());
    copies.push_back(c.get());
    return c;
}

// Runs a program and returns what it prints.
std::string outputOf(const std::vector<std::string>& command) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return "";
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    std::vector<char*> arguments;
    for (auto& word : command) {
        arguments.push_back((char*)word.c_str());
    }
    arguments.push_back(nullptr);
    pid_t child;
    int failed = posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    std::string text;
    if (failed == 0) {
        char buffer[4096];
        ssize_t n;
        while ((n = read(ends[0], buffer, sizeof buffer)) > 0) {
            text.append(buffer, (size_t)n);
        }
        waitpid(child, nullptr, 0);
    }
    close(ends[0]);
    return text;
}

} // namespace

ModuleCopy::~ModuleCopy() {
    {
        std::lock_guard<std::mutex> guard(loading);
        std::erase(copies, this);
        if (handle != nullptr) {
            dlclose(handle);
        }
    }
    if (file >= 0) {
        close(file);
    }
}

ModuleCopy* Module::copy(int worker, std::string& error) {
    static std::mutex lock; // workers of one launch come at the same time
    std::lock_guard<std::mutex> guard(lock);
    if (copies.size() <= (size_t)worker) {
        copies.resize((size_t)worker + 1);
    }
    if (copies[(size_t)worker] == nullptr) {
        copies[(size_t)worker] = load(image, error);
    }
    return copies[(size_t)worker].get();
}

Result loadImage(const void* image, Module** module) {
    ImageHeader header;
    memcpy(&header, image, sizeof header);
    if (memcmp(header.magic, kImageMagic, sizeof header.magic) != 0) {
        setError("the image is not one of the host runner's: a GPU's machine code cannot run here");
        return InvalidImage;
    }
    if ((header.checked != 0) != kChecked) {
        setError("the image was compiled by the other flavour of the host runner");
        return InvalidImage;
    }
    if (header.wide && !(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"))) {
        setError("the image was compiled for a processor with AVX2, FMA and F16C");
        return NoBinaryForGpu;
    }
    auto m = std::make_unique<Module>();
    m->image.assign((const uint8_t*)image, (const uint8_t*)image + sizeof header + header.bytes);
    std::string error;
    if (m->copy(0, error) == nullptr) {
        setError(error);
        return InvalidImage;
    }
    *module = m.release();
    return Success;
}

void dropModule(Module* module) { delete module; }

Result kernelIndex(Module* module, const char* name, int* index) {
    std::string error;
    ModuleCopy* c = module->copy(0, error);
    std::string known;
    for (size_t i = 0; i < c->kernels.size(); i++) {
        if (c->kernels[i].name == name) {
            *index = (int)i;
            return Success;
        }
        known += " " + c->kernels[i].name;
    }
    setError(format("the module has no kernel '%s' with a SIMT_KERNEL(%s); it has:%s", name, name, known.empty() ? " none" : known.c_str()));
    return NotFound;
}

// --- what a module's constructors call ---

EXPORT void simt_module(ThreadView** self, void* shared_begin, void* shared_end) {
    loadingCopy->self = self;
    loadingCopy->shared = (uint8_t*)shared_begin;
    loadingCopy->shared_end = (uint8_t*)shared_end;
}

EXPORT void simt_register(const char* name, void (*thunk)(void**), int parameters, const unsigned* sizes, const unsigned* alignments) {
    KernelEntry k{name, thunk, {}, {}};
    for (int i = 0; i < parameters; i++) {
        uint32_t offset = (k.bytes + alignments[i] - 1) / alignments[i] * alignments[i];
        k.offsets.push_back(offset);
        k.sizes.push_back(sizes[i]);
        k.bytes = offset + sizes[i];
    }
    loadingCopy->kernels.push_back(std::move(k));
}

// --- from code to source ---

std::string sourceOf(const std::vector<uintptr_t>& addresses) {
    std::vector<std::string> command;
    for (uintptr_t address : addresses) {
        for (ModuleCopy* c : copies) {
            if (address - c->low < c->high - c->low) {
                if (command.empty()) {
                    command = {"addr2line", "-i", "-e", format("/proc/%d/fd/%d", (int)getpid(), c->file)};
                }
                command.push_back(format("0x%lx", (unsigned long)(address - c->low)));
            }
        }
    }
    if (command.empty()) {
        return "";
    }
    std::string lines = outputOf(command), place, last;
    for (size_t at = 0; at < lines.size();) {
        size_t end = lines.find('\n', at);
        std::string line = lines.substr(at, end - at);
        at = end == std::string::npos ? lines.size() : end + 1;
        if (size_t note = line.find(" (discriminator"); note != std::string::npos) {
            line.resize(note);
        }
        if (line.find("simt.h:") != std::string::npos || line.find("ptx_host.h:") != std::string::npos || line.find("??") != std::string::npos || line.find(":?") != std::string::npos) {
            continue;
        }
        while (line.rfind("./", 0) == 0) {
            line.erase(0, 2);
        }
        if (line == last || line.empty()) {
            continue;
        }
        last = line;
        place += (place.empty() ? "at " : ", called from ") + line;
    }
    return place;
}
