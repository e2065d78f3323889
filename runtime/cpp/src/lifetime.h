// The end: of the process, or of a Python that is the host's. What runs then is ended first, and nothing begins after.
#pragma once

#include "ovrun.h"

namespace ovrun {

// A call of the application that is under way, for which the end waits.
class Visit {
public:
    Visit();
    ~Visit();
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;

    static int depth();  // of this thread: above 1 where a callback calls in
};

// Whether Python must not be touched any more.
bool is_over();

// OV_USAGE once it is over.
ov_status check_end();

// To be called when something of ONNX Runtime is new: its statics are destroyed after what is registered later.
void watch_for_exit();

// The host ends its Python: as ov_stop, for ever. Called without the GIL.
void python_ends();

}  // namespace ovrun
