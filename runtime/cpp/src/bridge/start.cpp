// Starts Python, which only code that is compiled for its version can (PyConfig), and imports the runtime.
#include <string>

#include "calls.h"
#include "table.h"

namespace ovrun {
namespace {

// As `python -I` of the environment, in UTF-8 whatever the locale; signals stay the application's.
PyStatus start_isolated(const char* executable) {
    PyPreConfig before;
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1;
    PyStatus status = Py_PreInitialize(&before);
    if (PyStatus_Exception(status)) return status;
    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    status = PyConfig_SetBytesString(&config, &config.program_name, executable);
    if (!PyStatus_Exception(status)) status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    return status;
}

// What pip put where this Python does not look by itself: the packages of a user.
void add_site_packages(const char* folder) {
    if (folder == nullptr) return;
    const auto path = py::module_::import("sys").attr("path");
    if (!path.contains(folder)) py::module_::import("site").attr("addsitedir")(folder);
}

// The library and the package may come from two installations.
ov_status check_package_version(const Listener* listener) {
    const auto module = runtime();
    const int found = py::getattr(module, "BRIDGE_VERSION", py::int_(1)).cast<int>();
    if (found == OVRUN_BRIDGE_VERSION) return OV_OK;
    complain(
        listener,
        "the package " + utf8(module.attr("__file__")) + " is of version " + std::to_string(found) +
            " and libovrun of version " + std::to_string(OVRUN_BRIDGE_VERSION),
        "use the library of the environment that runs: ovrun --libs, ovrun --cmake-dir");
    return OV_MISSING_DEPENDENCY;
}

// While Python can still be used; what runs could not go on after.
void call_at_end(void (*python_ends)()) {
    const auto ends = py::cpp_function([python_ends] {
        const py::gil_scoped_release release;
        python_ends();
    });
    py::module_::import("atexit").attr("register")(ends);
}

ov_status import_runtime(const Start& how, const Listener* listener) {
    const py::gil_scoped_acquire gil;
    try {
        add_site_packages(how.site_packages);
        if (const ov_status status = check_package_version(listener)) return status;
        call_at_end(how.python_ends);
        return OV_OK;
    } catch (const py::error_already_set& error) {
        const bool is_own = how.executable != nullptr;
        complain(
            listener,
            std::string("the Python ") + (is_own ? how.executable : "that runs in this process") +
                " can't import ovrun: " + utf8(py::str(error.value())),
            std::string("pip install 'ovexport[cpu]' there") +
                (is_own ? ", or name another in OVRUN_PYTHON_HOME and start the program again: this one runs now" : ""));
        return OV_MISSING_DEPENDENCY;
    }
}

}  // namespace
}  // namespace ovrun

extern "C" OV_API const int ovrun_bridge_version;
extern "C" const int ovrun_bridge_version = OVRUN_BRIDGE_VERSION;

extern "C" OV_API ov_status ovrun_bridge_enter(
    const ovrun::Start* how, const ovrun::Listener* listener, const ovrun::Bridge** bridge) {
    using namespace ovrun;
    try {
        if (how->executable && !Py_IsInitialized()) {
            const PyStatus status = start_isolated(how->executable);
            if (PyStatus_Exception(status)) {
                const std::string reason = status.err_msg ? status.err_msg : "it ended";
                complain(listener, std::string(how->executable) + " can't be started: " + reason, "check OVRUN_PYTHON_HOME");
                return OV_MISSING_DEPENDENCY;
            }
            PyEval_SaveThread();  // the thread that starts Python is one like any other
        }
        const ov_status status = import_runtime(*how, listener);
        if (status == OV_OK) *bridge = &table();
        return status;
    } catch (...) {
        return OV_UNEXPECTED;
    }
}
