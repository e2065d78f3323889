#include "target.h"

#include "handles.h"
#include "interpreter.h"
#include "last_error.h"

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

ov_status busy() {
    return fail(OV_BUSY, "the session is at the answer that called back", "call it when that has returned");
}

void release(Target& target) {
    if (target.python == nullptr) return;
    bridge()->close(target.python);
    target.python = nullptr;
}

// Its chats and watches hold the memory of their own.
void close_session(Target& session) {
    session.gate->close();
    const Turn turn(*session.gate);
    for (const auto& other : handles().all()) {
        if (other->gate == session.gate && other.get() != &session) {
            handles().remove(*other);
            release(*other);
        }
    }
    release(session);
}

}  // namespace

ov_status with_target(const void* handle, Kind kind, const std::function<ov_status(Target&)>& work) {
    const auto target = find(handle, kind);
    if (target == nullptr) return no_handle(name_of(kind));
    if (target->gate->is_mine()) return busy();
    const Turn turn(*target->gate);
    if (target->python == nullptr) return no_handle(name_of(kind));
    if (target->gate->is_closing()) return no_handle("session");
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
    if (target == nullptr) return no_handle(name_of(kind));
    if (target->gate->is_mine()) return busy();
    if (handles().remove(handle) == nullptr) return no_handle(name_of(kind));  // another thread was quicker
    if (kind == Kind::session) {
        close_session(*target);
    } else {
        const Turn turn(*target->gate);
        release(*target);
    }
    return OV_OK;
}

ov_status close_everything() {
    const auto all = handles().all();
    for (const auto& target : all) {
        if (target->gate->is_mine()) return busy();
    }
    for (const auto& target : all) {
        if (target->kind == Kind::session) target->gate->close();  // all at once, then one after the other
    }
    for (const auto& target : all) {
        if (target->kind != Kind::session) continue;
        handles().remove(*target);
        close_session(*target);
    }
    return OV_OK;
}

}  // namespace ovrun
