// What handles stand for: sessions, chats and watches.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "gate.h"
#include "ovrun.h"

namespace ovrun {

enum class Kind { session, chat, watch };

struct Target {
    Target(Kind what, std::shared_ptr<Gate> whose, void* object) : kind(what), gate(std::move(whose)), python(object) {}

    bool is_stopped() const { return closing || gate->is_stopped(); }

    const Kind kind;
    const std::shared_ptr<Gate> gate;
    std::atomic<bool> closing{false};
    void* python;  // null once closed; touched in a turn only
};

// `work` on the object of a handle, in a turn; else OV_USAGE or OV_BUSY.
ov_status with_target(const void* handle, Kind kind, const std::function<ov_status(Target&)>& work);

ov_status cancel(const void* session);

// From within a callback for which its answer waits, the rest is done when that answer has returned.
ov_status close(const void* handle, Kind kind);

// Must not be called from within a callback.
void close_everything();

// Ends all answers, and refuses those that wait.
void close_gates();

}  // namespace ovrun
