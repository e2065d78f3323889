// Arguments of C as objects of Python, and an answer of Python as a result of C. The GIL is held.
#pragma once

#include <pybind11/pybind11.h>

#include "../bridge.h"

namespace ovrun {

namespace py = pybind11;

py::object text_or_none(const char* text);
py::list options_list(const ov_option* options, size_t num_options);
py::list media_list(const ov_media* media, size_t num_media);

ov_result* make_result(const py::object& result);
void free_result(ov_result* result);

}  // namespace ovrun
