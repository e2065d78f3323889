#include "interpreter.h"

#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <string>

#include "environment.h"
#include "host_python.h"
#include "last_error.h"

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

ov_status enter_bridge(const std::filesystem::path& file, const Start& how) {
    void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) return fail(OV_MISSING_DEPENDENCY, "ovrun can't be loaded: " + loader_error(), "install it again");
    const auto entry = reinterpret_cast<BridgeEntry>(dlsym(library, OVRUN_BRIDGE_ENTRY));
    if (!entry) return fail(OV_MISSING_DEPENDENCY, file.string() + " is of another version of ovrun", "install it again");
    const Listener listener{
        nullptr,
        [](void*, const char* message, const char* hint) { last_error() = {message, hint}; },
        nullptr,
        nullptr,
    };
    const Bridge* found = nullptr;
    const ov_status status = entry(&how, &listener, &found);
    if (status == OV_OK) started = found;
    return status;
}

// The interpreter that runs must have the package on its own path; which environment it is of is the host's choice.
ov_status join_running(const HostPython& python) {
    const auto bridge_file = find_bridge(short_version(python.version()), {});
    return bridge_file.empty() ? OV_MISSING_DEPENDENCY : enter_bridge(bridge_file, Start{nullptr, nullptr});
}

ov_status start_own(const HostPython* loaded) {
    const auto environment = find_environment();
    if (!environment) return OV_MISSING_DEPENDENCY;
    const auto bridge_file = find_bridge(environment->version, environment->site_packages);
    if (bridge_file.empty()) return OV_MISSING_DEPENDENCY;
    if (loaded == nullptr) {
        if (const ov_status status = load_libpython(*environment)) return status;
    } else if (short_version(loaded->version()) != environment->version) {
        return fail(
            OV_MISSING_DEPENDENCY,
            "the application is linked with Python " + short_version(loaded->version()) + ", and the environment " +
                environment->home.string() + " is of " + environment->version,
            "give an environment of the same version in OVRUN_PYTHON_HOME");
    }
    const auto packages = environment->site_packages.string();
    return enter_bridge(
        bridge_file, Start{environment->executable.c_str(), packages.empty() ? nullptr : packages.c_str()});
}

}  // namespace

const Bridge* bridge() { return started; }

ov_status start() {
    if (started) return OV_OK;
    static std::mutex once;
    const std::lock_guard lock(once);
    if (started) return OV_OK;
    started_by = getpid();
    const HostPython* python = host_python();
    return python && python->is_initialized() ? join_running(*python) : start_own(python);
}

ov_status check_process() {
    if (!started_by || started_by == getpid()) return OV_OK;
    return fail(OV_USAGE, "ovrun does not work in a process that was forked after its start",
                "start it in the child only, or start a program there (exec)");
}

WithoutGil::WithoutGil() : state_(nullptr) {
    const HostPython* python = host_python();
    if (python && python->is_initialized() && python->has_gil()) state_ = python->save_thread();
}

WithoutGil::~WithoutGil() {
    if (state_) host_python()->restore_thread(state_);
}

}  // namespace ovrun
