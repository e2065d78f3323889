// Whose turn it is to use a session.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <thread>
#include <vector>

namespace ovrun {

// One for a session with its chats and watches: one of them works at a time, the others wait.
class Gate {
public:
    bool is_stopped() const { return cancelled_ || closing_; }
    bool is_closing() const { return closing_; }
    void cancel() { cancelled_ = true; }  // what runs; the next turn begins without
    void close() { closing_ = true; }     // what runs and what waits, for ever

    // What this thread can't wait to do, as whoever has the turn waits for it: is done at the end of that turn.
    void leave(std::function<void()> work);

private:
    friend class Turn;
    bool enter();
    void pass_on();
    bool waits_for_me() const;

    // All of these under the one mutex of all gates, for who waits for whom is a question about all of them.
    std::condition_variable free_;
    std::thread::id owner_{};
    std::vector<std::function<void()>> left_;

    std::atomic<bool> cancelled_{false}, closing_{false};
};

// Held while Python works on a session. Never waited for with the GIL; nor by a thread for which its holder waits, who
// has none: such a turn is false.
class Turn {
public:
    explicit Turn(Gate& gate) : gate_(gate), mine_(gate.enter()) {}
    ~Turn() {
        if (mine_) gate_.pass_on();
    }
    explicit operator bool() const { return mine_; }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

private:
    Gate& gate_;
    const bool mine_;
};

}  // namespace ovrun
