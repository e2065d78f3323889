// pthread_cancel waits until the library is left: Python's frames can't be unwound.
#pragma once

#include <pthread.h>

namespace ovrun {

class Uncancelled {
public:
    Uncancelled() : outer_(callers()) { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &callers()); }
    ~Uncancelled() {
        pthread_setcancelstate(callers(), nullptr);
        callers() = outer_;
    }
    Uncancelled(const Uncancelled&) = delete;
    Uncancelled& operator=(const Uncancelled&) = delete;

    // Of this thread, when it called.
    static int& callers() {
        thread_local int state = PTHREAD_CANCEL_ENABLE;
        return state;
    }

private:
    int outer_;
};

// In a callback it is as it was for the caller.
class AsTheCaller {
public:
    AsTheCaller() { pthread_setcancelstate(Uncancelled::callers(), nullptr); }
    ~AsTheCaller() { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr); }
    AsTheCaller(const AsTheCaller&) = delete;
    AsTheCaller& operator=(const AsTheCaller&) = delete;
};

}  // namespace ovrun
