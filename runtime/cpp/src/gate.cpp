#include "gate.h"

#include <map>
#include <mutex>
#include <utility>

namespace ovrun {
namespace {

struct Waiting {
    std::mutex mutex;
    std::map<std::thread::id, const Gate*> for_gate;
};

Waiting& waiting() {
    static auto* const all = new Waiting;  // never destroyed, as handles are not
    return *all;
}

}  // namespace

// Only who begins to wait can close a circle, so it is enough to look then.
bool Gate::waits_for_me() const {
    const auto& for_gate = waiting().for_gate;
    for (const Gate* gate = this; gate->owner_ != std::thread::id();) {
        if (gate->owner_ == std::this_thread::get_id()) return true;
        const auto next = for_gate.find(gate->owner_);
        if (next == for_gate.end()) return false;
        gate = next->second;
    }
    return false;
}

bool Gate::enter() {
    const auto me = std::this_thread::get_id();
    std::unique_lock lock(waiting().mutex);
    while (owner_ != std::thread::id()) {
        if (waits_for_me()) return false;
        waiting().for_gate[me] = this;
        free_.wait(lock);
        waiting().for_gate.erase(me);
    }
    owner_ = me;
    cancelled_ = false;
    return true;
}

void Gate::pass_on() {
    for (;;) {
        std::vector<std::function<void()>> left;
        {
            const std::lock_guard lock(waiting().mutex);
            left.swap(left_);
            if (left.empty()) {
                owner_ = std::thread::id();
                free_.notify_one();
                return;
            }
        }
        for (const auto& work : left) work();
    }
}

void Gate::leave(std::function<void()> work) {
    const std::lock_guard lock(waiting().mutex);
    left_.push_back(std::move(work));
}

}  // namespace ovrun
