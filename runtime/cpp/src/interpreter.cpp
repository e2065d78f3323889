#include "interpreter.h"

#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <string>
#include <utility>

#include "environment.h"
#include "host_python.h"
#include "last_error.h"
#include "lifetime.h"
#include "packages.h"

namespace ovrun {
namespace {

std::atomic<const Bridge*> started{nullptr};
std::atomic<pid_t> started_by{0};

std::string loader_error() {
    const char* text = dlerror();
    return text ? text : "unknown reason";
}

// With its symbols for all: modules of Python are not linked with it.
ov_status load_libpython(const Environment& environment) {
    std::string reason;
    for (const auto& file : libpython_files(environment)) {
        if (dlopen(file.c_str(), RTLD_NOW | RTLD_GLOBAL)) return OV_OK;
        reason = loader_error();
    }
    return fail(
        OV_MISSING_DEPENDENCY,
        "the Python of " + environment.home.string() + " (" + environment.origin + ") has no shared library: " + reason,
        "take a Python that has one (Debian: apt install libpython" + environment.version +
            "; pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared), or name it in OVRUN_LIBPYTHON");
}

// The two are installed together, unless somebody copies files.
ov_status check_bridge(void* library, const std::filesystem::path& file) {
    const auto* version = static_cast<const int*>(dlsym(library, OVRUN_BRIDGE_VERSION_NAME));
    const int found = version ? *version : 1;
    if (found == OVRUN_BRIDGE_VERSION && dlsym(library, OVRUN_BRIDGE_ENTRY)) return OV_OK;
    return fail(
        OV_MISSING_DEPENDENCY,
        file.string() + " is of version " + std::to_string(found) + " and libovrun in " + own_folder().string() +
            " of version " + std::to_string(OVRUN_BRIDGE_VERSION),
        "install the package again, with nothing of another one beside it");
}

ov_status enter_bridge(const std::filesystem::path& file, const char* executable, const char* site_packages) {
    void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) return fail(OV_MISSING_DEPENDENCY, "ovrun can't be loaded: " + loader_error(), "install it again");
    if (const ov_status status = check_bridge(library, file)) return status;
    const auto entry = reinterpret_cast<BridgeEntry>(dlsym(library, OVRUN_BRIDGE_ENTRY));
    const Start how{executable, site_packages, python_ends};
    const Listener listener = complaints();
    const Bridge* found = nullptr;
    const ov_status status = entry(&how, &listener, &found);
    if (status == OV_OK) started = found;
    return status;
}

// The interpreter that runs must have the package on its own path; which environment it is of is the host's choice.
ov_status join_running(const HostPython& python) {
    const auto bridge_file = find_bridge(short_version(python.version()), {});
    return bridge_file.empty() ? OV_MISSING_DEPENDENCY : enter_bridge(bridge_file, nullptr, nullptr);
}

// A Python of our own, in the order in which it is found out; the last step can't be taken back.
struct Own {
    Environment environment;
    std::filesystem::path bridge_file;
    bool begun = false;
};

ov_status check_version(const HostPython& loaded, const Environment& environment) {
    const auto version = short_version(loaded.version());
    if (version == environment.version) return OV_OK;
    return fail(
        OV_MISSING_DEPENDENCY,
        "the application is linked with Python " + version + ", and the environment " + environment.home.string() +
            " is of " + environment.version,
        "give an environment of the same version in OVRUN_PYTHON_HOME");
}

ov_status find_own(Own& own, const HostPython* loaded) {
    auto environment = find_environment();
    if (!environment) return OV_MISSING_DEPENDENCY;
    own.environment = std::move(*environment);
    own.bridge_file = find_bridge(own.environment.version, own.environment.site_packages);
    if (own.bridge_file.empty()) return OV_MISSING_DEPENDENCY;
    if (const ov_status status = check_package(own.environment)) return status;
    return loaded ? check_version(*loaded, own.environment) : load_libpython(own.environment);
}

ov_status start_own(Own& own) {
    if (!own.begun) {
        if (const ov_status status = find_own(own, host_python())) return status;
    }
    const auto packages = own.environment.site_packages.string();
    const char* where = packages.empty() ? nullptr : packages.c_str();
    const ov_status status = enter_bridge(own.bridge_file, own.environment.executable.c_str(), where);
    const HostPython* python = host_python();
    own.begun = python && python->is_initialized();
    return status;
}

}  // namespace

const Bridge* bridge() { return started; }

ov_status start() {
    if (started) return OV_OK;
    static std::mutex once;
    static auto* const own = new Own;  // never destroyed, as Python is not
    const std::lock_guard lock(once);
    if (started) return OV_OK;
    const HostPython* python = host_python();
    const bool joins = !own->begun && python && python->is_initialized();
    const ov_status status = joins ? join_running(*python) : start_own(*own);
    if (status == OV_OK || own->begun) started_by = getpid();  // else a child may do better
    return status;
}

bool is_forked() { return started_by && started_by != getpid(); }

ov_status check_fork() {
    if (!is_forked()) return OV_OK;
    return fail(OV_USAGE, "ovrun does not work in a process that was forked after its start",
                "start it in the child only, or start a program there (exec)");
}

bool python_lives() {
    const HostPython* python = host_python();
    return python && python->is_initialized() && !(python->is_finalizing && python->is_finalizing());
}

WithoutGil::WithoutGil() : state_(nullptr) {
    if (python_lives() && host_python()->has_gil()) state_ = host_python()->save_thread();
}

WithoutGil::~WithoutGil() noexcept(false) {
    if (state_) host_python()->restore_thread(state_);
}

Listener complaints() {
    return {
        nullptr,
        [](void*, const char* message, const char* hint) { last_error() = {message, hint}; },
        nullptr,
        nullptr,
    };
}

}  // namespace ovrun
