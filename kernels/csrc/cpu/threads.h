// Threads that wait for work between calls. A thread started for a call would begin on its caller's own core and find
// another one only when the system next looks around, milliseconds later.
#pragma once

#include <cstdint>
#include <functional>

namespace ovk {

// Runs `work` on up to `count` threads at once, the caller's among them, and comes back when all of them have. Every
// one runs all of `work`, which shares out what there is to do. Fewer threads come where others cannot be started,
// where another call has them, and in a process that was forked off; the caller's always does.
void run_on_threads(int64_t count, const std::function<void()>& work);

}  // namespace ovk
