#include "target.h"

#include "handles.h"
#include "interpreter.h"
#include "last_error.h"
#include "lifetime.h"

namespace ovrun {
namespace {

const char* name_of(Kind kind) {
    return kind == Kind::session ? "session" : kind == Kind::chat ? "chat" : "watch";
}

std::shared_ptr<Target> find(const void* handle, Kind kind) {
    auto target = handles().find(handle);
    if (target == nullptr || target->kind != kind) return nullptr;
    return target;
}

// Where Python has ended, its objects have too.
void release(Target& target) {
    if (target.python == nullptr) return;
    bridge()->close(target.python);
    target.python = nullptr;
}

// In a turn. Its chats and watches hold memory of their own.
void release_all(Target& target) {
    if (target.kind != Kind::session) return release(target);
    for (const auto& other : handles().all()) {
        if (other->gate == target.gate && other.get() != &target) {
            handles().remove(*other);
            release(*other);
        }
    }
    release(target);
    bridge()->collect();  // or memory would grow from session to session
}

}  // namespace

ov_status with_target(const void* handle, Kind kind, const std::function<ov_status(Target&)>& work) {
    const auto target = find(handle, kind);
    if (target == nullptr) return no_handle(name_of(kind));
    const Turn turn(*target->gate);
    if (!turn) {
        return fail(OV_BUSY, "the session is at an answer whose callback waits for this call",
                    "call it when that has returned");
    }
    if (target->python == nullptr || target->closing) return no_handle(name_of(kind));
    if (target->gate->is_closing()) return check_end() ? OV_USAGE : no_handle("session");
    return work(*target);
}

ov_status cancel(const void* session) {
    const auto target = find(session, Kind::session);
    if (target == nullptr) return no_handle(name_of(Kind::session));
    target->gate->cancel();
    return OV_OK;
}

ov_status close(const void* handle, Kind kind) {
    const auto target = find(handle, kind);
    if (target == nullptr || handles().remove(handle) == nullptr) return no_handle(name_of(kind));
    if (is_over()) return OV_OK;
    target->closing = true;
    if (kind == Kind::session) target->gate->close();
    if (const Turn turn(*target->gate); turn) {
        release_all(*target);
    } else {
        target->gate->leave([target] { release_all(*target); });
    }
    return OV_OK;
}

void close_gates() {
    for (const auto& target : handles().all()) target->gate->close();
}

void close_everything() {
    close_gates();  // all at once, then one after the other
    for (const auto& target : handles().all()) {
        if (target->kind != Kind::session) continue;
        const Turn turn(*target->gate);
        handles().remove(*target);
        if (turn) release_all(*target);
    }
}

}  // namespace ovrun
