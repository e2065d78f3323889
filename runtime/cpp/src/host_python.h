// The interpreter that the process may have already, by its symbols alone.
#pragma once

#include <string>

namespace ovrun {

struct HostPython {
    int (*is_initialized)();
    int (*is_finalizing)();  // null where there is no such function
    const char* (*version)();
    void* (*running_state)();  // of this thread from 3.12 on, of the process before; without a check
    void* (*own_state)();      // what PyGILState_Ensure would take
    void* (*save_thread)();
    void (*restore_thread)(void*);

    // PyGILState_Check says yes to every thread once there has been a sub-interpreter.
    bool has_gil() const;
};

// Null where no library of Python is loaded.
const HostPython* host_python();

// "3.11" of a text that begins with "3.11.7".
std::string short_version(const std::string& text);

}  // namespace ovrun
