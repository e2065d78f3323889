#include "calls.h"

namespace ovrun {

py::module_& runtime() {
    static auto* const module = new py::module_(py::module_::import("ovrun.embedding"));  // never let go: see start.cpp
    return *module;
}

std::string utf8(const py::handle& text) {
    const auto encoded = py::reinterpret_steal<py::bytes>(
        PyUnicode_AsEncodedString(text.ptr(), "utf-8", "backslashreplace"));
    if (!encoded) throw py::error_already_set();
    return encoded;
}

void complain(const Listener* listener, const std::string& message, const std::string& hint) {
    if (listener) listener->complain(listener->self, message.c_str(), hint.c_str());
}

ov_status explain(const Listener* listener, const py::error_already_set& error) {
    const py::tuple told = runtime().attr("explain_error")(error.value());
    complain(listener, utf8(told[1]), utf8(told[2]));
    return told[0].cast<ov_status>();
}

}  // namespace ovrun
