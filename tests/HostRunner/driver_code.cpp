// libcuda's names: modules, functions, launches.
#include "driver.h"
#include <algorithm>
#include <cstring>

Result loadImage(const void* image, Module** module); // modules.cpp
void dropModule(Module* module);
Result kernelIndex(Module* module, const char* name, int* index);

namespace {

Result launch(Function* f, Index3 grid, Index3 block, uint32_t shared, Stream* s, void** params, void** extra, bool cooperative) {
    CURRENT;
    if (functions.count(f) == 0) {
        return error(InvalidHandle, "the function's module was unloaded, or it never was one");
    }
    uint64_t threads = (uint64_t)block.x * block.y * block.z, blocks = (uint64_t)grid.x * grid.y * grid.z;
    const std::string& name = f->name;
    if (threads == 0 || blocks == 0 || threads > 1024 || block.z > 64 || grid.y > 65535 || grid.z > 65535 || grid.x > 0x7FFFFFFFu || blocks > 0x7FFFFFFFu) {
        return error(InvalidValue, format("%s: a grid of (%u,%u,%u) blocks of (%u,%u,%u) threads is out of range", name.c_str(), grid.x, grid.y, grid.z, block.x, block.y, block.z));
    }
    std::string problem;
    ModuleCopy* m = f->module->copy(0, problem);
    if (m == nullptr) {
        return error(InvalidImage, problem);
    }
    if ((int64_t)shared > f->max_dynamic_shared) {
        return error(InvalidValue, format("%s: %u bytes of dynamic shared memory, but the function is set to at most %d", name.c_str(), shared, f->max_dynamic_shared));
    }
    if ((size_t)(m->shared_end - m->shared) + shared > 227 * 1024) {
        return error(InvalidValue, format("%s: more than 227 KiB of shared memory", name.c_str()));
    }
    if (cooperative && blocks > (uint64_t)options.multiprocessors * (2048 / std::max<uint64_t>(threads, 64))) {
        return error(CooperativeLaunchTooLarge, format("%s: %lu blocks cannot be resident at once", name.c_str(), (unsigned long)blocks));
    }
    const KernelEntry& kernel = m->kernels[(size_t)f->index];
    Op op{Kernel};
    op.launch.function = f;
    op.launch.grid = grid;
    op.launch.block = block;
    op.launch.shared_bytes = shared;
    op.launch.cooperative = cooperative;
    op.launch.arguments.resize(kernel.bytes + 16);
    if (params != nullptr) {
        for (size_t i = 0; i < kernel.sizes.size(); i++) {
            if (params[i] == nullptr) {
                return error(InvalidValue, format("%s: parameter %zu of %zu is null", name.c_str(), i, kernel.sizes.size()));
            }
            memcpy(op.launch.arguments.data() + kernel.offsets[i], params[i], kernel.sizes[i]);
        }
    } else if (extra != nullptr) {
        void* buffer = nullptr;
        size_t size = 0;
        for (void** e = extra; *e != nullptr; e += 2) {
            if (*e == (void*)1) buffer = e[1];
            if (*e == (void*)2) size = *(size_t*)e[1];
        }
        if (buffer == nullptr || size < kernel.bytes) {
            return error(InvalidValue, format("%s: %zu bytes of parameters, it takes %u", name.c_str(), size, kernel.bytes));
        }
        memcpy(op.launch.arguments.data(), buffer, kernel.bytes);
    } else if (!kernel.sizes.empty()) {
        return error(InvalidValue, format("%s: no parameters were given", name.c_str()));
    }
    return submit(context, s, std::move(op));
}

} // namespace

EXPORT int cuModuleLoadData(Module** module, const void* image) {
    CURRENT;
    Result r = loadImage(image, module);
    if (r == Success) {
        modules.insert(*module);
    }
    return r;
}
EXPORT int cuModuleLoadDataEx(Module** module, const void* image, unsigned, int*, void**) { return cuModuleLoadData(module, image); }
EXPORT int cuModuleUnload(Module* module) {
    CURRENT;
    if (modules.erase(module) == 0) {
        return error(InvalidHandle, "not a module");
    }
    drain(context);
    for (auto it = functions.begin(); it != functions.end();) {
        if ((*it)->module == module) {
            delete *it;
            it = functions.erase(it);
        } else {
            ++it;
        }
    }
    dropModule(module);
    return Success;
}
EXPORT int cuModuleGetFunction(Function** f, Module* module, const char* name) {
    CURRENT;
    if (modules.count(module) == 0) {
        return error(InvalidHandle, "not a module");
    }
    int index;
    if (Result r = kernelIndex(module, name, &index)) return r;
    KernelStats*& s = stats[name];
    if (s == nullptr) {
        s = new KernelStats;
    }
    *f = new Function{module, index, name, 48 * 1024, s};
    functions.insert(*f);
    return Success;
}
EXPORT int cuFuncGetAttribute(int* value, int attribute, Function* f) {
    CURRENT;
    if (functions.count(f) == 0) {
        return error(InvalidHandle, "not a function");
    }
    std::string problem;
    ModuleCopy* m = f->module->copy(0, problem);
    switch (attribute) {
    case 0: *value = 1024; break;
    case 1: *value = (int)(m->shared_end - m->shared); break;
    case 4: *value = 32; break; // not known here
    case 5: case 6: *value = 90; break;
    case 8: *value = f->max_dynamic_shared; break;
    default: *value = 0; break;
    }
    return Success;
}
EXPORT int cuFuncSetAttribute(Function* f, int attribute, int value) {
    CURRENT;
    if (functions.count(f) == 0) {
        return error(InvalidHandle, "not a function");
    }
    if (attribute == 8) {
        if (value < 0 || value > 227 * 1024) {
            return error(InvalidValue, format("%s: %d bytes of dynamic shared memory; a block has at most 227 KiB", f->name.c_str(), value));
        }
        f->max_dynamic_shared = value;
    }
    return Success;
}
EXPORT int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Function* f, int threads, size_t shared) {
    CURRENT;
    if (functions.count(f) == 0 || threads <= 0) {
        return error(InvalidValue, "not a function, or no threads");
    }
    std::string problem;
    ModuleCopy* m = f->module->copy(0, problem);
    size_t bytes = (size_t)(m->shared_end - m->shared) + shared + 1024;
    *blocks = (int)std::min<size_t>({(size_t)32, (size_t)(2048 / threads), (size_t)228 * 1024 / bytes});
    return Success;
}
EXPORT int cuLaunchKernel(Function* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, Stream* s, void** params, void** extra) {
    return launch(f, {gx, gy, gz}, {bx, by, bz}, shared, s, params, extra, false);
}
EXPORT int cuLaunchCooperativeKernel(Function* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, Stream* s, void** params) {
    return launch(f, {gx, gy, gz}, {bx, by, bz}, shared, s, params, nullptr, true);
}

struct LaunchAttribute { unsigned id, pad; int value[16]; };
struct LaunchConfig { unsigned gx, gy, gz, bx, by, bz, shared; Stream* stream; LaunchAttribute* attributes; unsigned count; };

EXPORT int cuLaunchKernelEx(const LaunchConfig* c, Function* f, void** params, void** extra) {
    bool cooperative = false;
    for (unsigned i = 0; i < c->count; i++) {
        const LaunchAttribute& a = c->attributes[i];
        switch (a.id) {
        case 2: cooperative = a.value[0] != 0; break;
        case 4:
            if (a.value[0] * std::max(1, a.value[1]) * std::max(1, a.value[2]) > 1) {
                return error(NotSupported, format("the host runner has no thread block clusters (asked for %d x %d x %d)", a.value[0], a.value[1], a.value[2]));
            }
            break;
        case 0: case 1: case 5: case 6: case 7: case 8: case 12: case 14: break; // about speed, or order that holds anyway
        default: return error(NotSupported, format("the host runner does not know launch attribute %u", a.id));
        }
    }
    return launch(f, {c->gx, c->gy, c->gz}, {c->bx, c->by, c->bz}, c->shared, c->stream, params, extra, cooperative);
}
