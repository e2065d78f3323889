// How C calls Python: with the GIL, and with errors as a status.
#pragma once

#include <pybind11/pybind11.h>

#include "../bridge.h"
#include "../unwinding.h"

namespace ovrun {

namespace py = pybind11;

// The module that does what is asked: ovrun.embedding.
py::module_& runtime();

// Text of Python, which may hold halves of characters: names of files that are not UTF-8.
std::string utf8(const py::handle& text);

// The status of an exception of Python, whose message and hint the listener gets.
ov_status explain(const Listener* listener, const py::error_already_set& error);

void complain(const Listener* listener, const std::string& message, const std::string& hint);

template <class Work>
ov_status guarded(const Listener* listener, Work work) {
    const py::gil_scoped_acquire gil;
    try {
        try {
            work();
            return OV_OK;
        } catch (const py::error_already_set& error) {
            return explain(listener, error);
        } catch (const std::bad_alloc&) {
            complain(listener, "out of memory", "use smaller images, or a smaller precision (int4)");
            return OV_OUT_OF_MEMORY;
        } catch (const std::exception& error) {
            complain(listener, error.what(), "report it");
        }
    }
    OVRUN_LET_THREADS_END
    catch (...) {  // while complaining
        if (listener) listener->complain(listener->self, "unexpected", "report it");
    }
    return OV_UNEXPECTED;
}

}  // namespace ovrun
