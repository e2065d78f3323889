// What handles stand for: sessions, chats and watches, and whose turn it is to use a session.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "ovrun.h"

namespace ovrun {

// One for a session with its chats and watches: one of them works at a time, the others wait.
class Gate {
public:
    bool is_mine() const { return owner_.load() == std::this_thread::get_id(); }
    bool is_stopped() const { return cancelled_ || closing_; }
    bool is_closing() const { return closing_; }
    void cancel() { cancelled_ = true; }  // what runs; the next turn begins without
    void close() { closing_ = true; }     // what runs and what waits, for ever

private:
    friend class Turn;
    std::mutex mutex_;
    std::atomic<std::thread::id> owner_{};
    std::atomic<bool> cancelled_{false}, closing_{false};
};

// Held while Python works on a session. Never waited for with the GIL.
class Turn {
public:
    explicit Turn(Gate& gate) : gate_(gate), lock_(gate.mutex_) {
        gate_.cancelled_ = false;
        gate_.owner_ = std::this_thread::get_id();
    }
    ~Turn() { gate_.owner_ = std::thread::id(); }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

private:
    Gate& gate_;
    std::lock_guard<std::mutex> lock_;
};

enum class Kind { session, chat, watch };

struct Target {
    Target(Kind what, std::shared_ptr<Gate> whose, void* object) : kind(what), gate(std::move(whose)), python(object) {}

    const Kind kind;
    const std::shared_ptr<Gate> gate;
    void* python;  // null once closed; touched in a turn only
};

// `work` on the object of a handle, in a turn; else OV_USAGE or OV_BUSY.
ov_status with_target(const void* handle, Kind kind, const std::function<ov_status(Target&)>& work);

ov_status cancel(const void* session);
ov_status close(const void* handle, Kind kind);
ov_status close_everything();

}  // namespace ovrun
