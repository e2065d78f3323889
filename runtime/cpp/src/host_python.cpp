#include "host_python.h"

#include <dlfcn.h>
#include <link.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

namespace ovrun {
namespace {

template <class Function>
bool look_up(const char* name, Function& function) {
    // POSIX wants this cast of a pointer to data.
    function = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
    return function != nullptr;
}

// A function that got another name in 3.13.
template <class Function>
bool look_up(const char* name, const char* before, Function& function) {
    return look_up(name, function) || look_up(before, function);
}

bool look_up_all(HostPython& python) {
    look_up("Py_IsFinalizing", "_Py_IsFinalizing", python.is_finalizing);
    return look_up("Py_IsInitialized", python.is_initialized) && look_up("Py_GetVersion", python.version) &&
           look_up("PyThreadState_GetUnchecked", "_PyThreadState_UncheckedGet", python.running_state) &&
           look_up("PyGILState_GetThisThreadState", python.own_state) &&
           look_up("PyEval_SaveThread", python.save_thread) && look_up("PyEval_RestoreThread", python.restore_thread);
}

int find_libpython(dl_phdr_info* info, std::size_t, void* found) {
    const char* slash = std::strrchr(info->dlpi_name, '/');
    const char* name = slash ? slash + 1 : info->dlpi_name;
    if (std::strncmp(name, "libpython3.", 11) != 0) return 0;
    *static_cast<std::string*>(found) = info->dlpi_name;
    return 1;
}

// A plugin may have loaded libpython for itself alone; modules that are imported later need its symbols for all.
bool make_global() {
    std::string file;  // opened after the search, which holds a lock of the loader
    dl_iterate_phdr(find_libpython, &file);
    return !file.empty() && dlopen(file.c_str(), RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL) != nullptr;
}

}  // namespace

bool HostPython::has_gil() const {
    const void* running = running_state();
    if (running == nullptr) return false;
    const std::string text = version();
    const bool is_of_this_thread = std::atoi(text.c_str() + text.find('.') + 1) >= 12;
    return is_of_this_thread || running == own_state();
}

const HostPython* host_python() {
    static std::atomic<const HostPython*> found{nullptr};
    if (const HostPython* python = found.load()) return python;
    HostPython python{};
    if (!look_up_all(python) && !(make_global() && look_up_all(python))) return nullptr;
    const HostPython* nobody = nullptr;
    const auto* mine = new HostPython(python);
    if (!found.compare_exchange_strong(nobody, mine)) delete mine;
    return found;
}

std::string short_version(const std::string& text) {
    std::size_t end = 0;
    for (int dots = 0; end < text.size() && (text[end] == '.' ? ++dots < 2 : text[end] >= '0' && text[end] <= '9');) ++end;
    return text.substr(0, end);
}

}  // namespace ovrun
