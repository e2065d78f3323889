// The interpreter that the process may have already, by its symbols alone.
#pragma once

#include <string>

namespace ovrun {

struct HostPython {
    int (*is_initialized)();
    const char* (*version)();
    int (*has_gil)();
    void* (*save_thread)();
    void (*restore_thread)(void*);
};

// Null where no library of Python is loaded.
const HostPython* host_python();

// "3.11" of a text that begins with "3.11.7".
std::string short_version(const std::string& text);

}  // namespace ovrun
