// The seam between libovrun, which knows no Python, and ovrun_bridge, which is compiled for one version of it.
//
// The two are built together, and go with ovrun/embedding.py of the same version. Plain C types only, so that they need
// not come from one compiler.
#pragma once

#include "ovrun.h"

namespace ovrun {

// Changes with anything below, and with any function of ovrun.embedding; all three are compared at the start.
#define OVRUN_BRIDGE_VERSION 2
#define OVRUN_BRIDGE_VERSION_NAME "ovrun_bridge_version"
#define OVRUN_BRIDGE_ENTRY "ovrun_bridge_enter"

// Whom a call talks to while it runs. None of these is called with the GIL held.
struct Listener {
    void* self;
    void (*complain)(void* self, const char* message, const char* hint);
    bool (*say)(void* self, const char* piece, size_t num_bytes);  // false: stop
    bool (*wants_more)(void* self);
};

// `target` is a session, chat or watch: an object of Python, of which the holder has one reference.
struct Bridge {
    ov_status (*open_session)(const Listener*, const char* bundle, const ov_option*, size_t, void** target);
    ov_status (*open_chat)(const Listener*, void* session, const char* system, const ov_option*, size_t, void** target);
    ov_status (*open_watch)(
        const Listener*, void* session, const char* prompt, int32_t window, int32_t every, const ov_option*, size_t,
        void** target);
    ov_status (*answer)(const Listener*, void* target, const ov_request*, ov_result**);
    void (*close)(void* target);
    void (*free_result)(ov_result*);
    ov_status (*set_log)(const Listener*, void (*tell)(int32_t level, const char* line), int32_t verbosity);
    void (*collect)();
};

// How to start Python, where it does not run yet, and what to do when it ends.
struct Start {
    const char* executable;     // whose environment it is; null: Python runs
    const char* site_packages;  // where the package is, should Python not find it by itself; may be null
    void (*python_ends)();
};

using BridgeEntry = ov_status (*)(const Start*, const Listener*, const Bridge** bridge);

}  // namespace ovrun
