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

ov_status import_runtime(const Start& how, const Listener* listener) {
    const py::gil_scoped_acquire gil;
    try {
        add_site_packages(how.site_packages);
        runtime();
        return OV_OK;
    } catch (const py::error_already_set& error) {
        std::string python = how.executable ? how.executable : "";
        if (python.empty()) python = "that runs in this process";
        complain(
            listener, "the Python " + python + " can't import ovrun: " + utf8(py::str(error.value())),
            "pip install 'ovexport[cpu]' there");
        return OV_MISSING_DEPENDENCY;
    }
}

}  // namespace
}  // namespace ovrun

extern "C" OV_API ov_status ovrun_bridge_1(
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
