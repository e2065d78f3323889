// The Python of this process: started once, or found running; never ended, as NumPy can't be loaded twice.
#pragma once

#include "bridge.h"
#include "ovrun.h"

namespace ovrun {

// What Python's side offers, null before the start.
const Bridge* bridge();

// Starts Python if need be. The caller must not hold the GIL.
ov_status start();

// In a child that was forked after the start: its copy of Python has lost its threads.
bool is_forked();
ov_status check_fork();

// Not in a host that has ended it, or is about to.
bool python_lives();

// Lets go of the GIL if this thread holds it, which a host that is Python may do: whoever waits for a session must not.
class WithoutGil {
public:
    WithoutGil();
    ~WithoutGil() noexcept(false);  // a thread that wants it while Python ends is ended by an exception
    WithoutGil(const WithoutGil&) = delete;
    WithoutGil& operator=(const WithoutGil&) = delete;

private:
    void* state_;
};

// Notes what is wrong for this thread, and wants nothing else.
Listener complaints();

}  // namespace ovrun
