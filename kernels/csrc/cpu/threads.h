// Threads that wait for work between calls. A thread started for a call would begin on its caller's own core and find
// another one only when the system next looks around, milliseconds later.
#pragma once

#include <cstdint>

namespace ovk {

// A function object that lives elsewhere, at least until the call returns. It owns nothing, so making one can't fail, as
// that of a std::function can.
class Work {
 public:
  template <class Function>
  explicit Work(const Function& function) noexcept
      : function_(&function), call_([](const void* of) { (*static_cast<const Function*>(of))(); }) {}

  void operator()() const { call_(function_); }

 private:
  const void* function_;
  void (*call_)(const void*);
};

// Runs `work`, which throws nothing, on up to `count` threads at once, the caller's among them, and comes back when all
// of them have. Every one runs all of `work`, which shares out what there is to do. Fewer threads come where others
// cannot be started, for want of memory too, where another call has them, and in a process that was forked off; the
// caller's always does.
void run_on_threads(int64_t count, const Work& work) noexcept;

}  // namespace ovk
