// The functions of ovrun.h: what is handed in is checked, nothing is thrown out. What they do is elsewhere.
#include <mutex>
#include <new>
#include <set>

#include "cancellation.h"
#include "handles.h"
#include "interpreter.h"
#include "last_error.h"
#include "lifetime.h"
#include "log.h"
#include "request_check.h"
#include "target.h"
#include "unwinding.h"

namespace ovrun {
namespace {

// What a call gives is null until it has something, whatever comes in between.
template <class Given>
void clear(Given** given) {
    if (given) *given = nullptr;
}

// What comes out of a call in place of an exception.
template <class Work>
ov_status guarded(Work work) {
    try {
        return work();
    } catch (const std::bad_alloc&) {
        return fail(OV_OUT_OF_MEMORY, "out of memory", "");  // short enough to need none
    } catch (const std::exception& error) {
        return fail(OV_UNEXPECTED, error.what(), "report it");
    }
    OVRUN_LET_THREADS_END
    catch (...) {
        return fail(OV_UNEXPECTED, "unexpected", "");
    }
}

// What every call begins with: not forked, not over, no GIL.
template <class Work>
ov_status call(Work work) {
    const Uncancelled uncancelled;
    return guarded([&] {
        if (const ov_status status = check_fork()) return status;
        const Visit visit;
        if (const ov_status status = check_end()) return status;
        const WithoutGil without_gil;
        return ov_status{work()};
    });
}

// The same for what gives back, which goes on to work when Python has ended, without it.
template <class Work>
ov_status give_back(Work work) {
    return guarded([&] {
        if (const ov_status status = check_fork()) return status;
        return is_over() ? ov_status{work()} : call(work);
    });
}

// Whom a call that asks something talks to.
struct Conversation {
    const Target* target;
    ov_text_callback callback;
    void* user;

    int32_t call_back(const char* piece, size_t num_bytes) const {
        const AsTheCaller as_the_caller;
        return callback(piece, num_bytes, user);
    }

    Listener listener() {
        return {
            this,
            complaints().complain,
            [](void* self, const char* piece, size_t num_bytes) {
                auto& me = *static_cast<Conversation*>(self);
                if (me.callback && me.call_back(piece, num_bytes) != 0) return false;
                return !me.target->is_stopped();
            },
            [](void* self) { return !static_cast<Conversation*>(self)->target->is_stopped(); },
        };
    }
};

// Results that are out, so that giving one back twice is a status.
class Results {
public:
    void add(ov_result* result) {
        const std::lock_guard lock(mutex_);
        out_.insert(result);
    }
    bool take(ov_result* result) {
        const std::lock_guard lock(mutex_);
        return out_.erase(result) == 1;
    }

private:
    std::mutex mutex_;
    std::set<ov_result*> out_;
};

Results& results() {
    static auto* const all = new Results;  // never destroyed, as handles are not
    return *all;
}

// `request` has been checked.
ov_status ask(
    const void* handle, Kind kind, const ov_request* request, ov_text_callback callback, void* user,
    ov_result** result) {
    return with_target(handle, kind, [&](Target& target) {
        Conversation conversation{&target, callback, user};
        const Listener listener = conversation.listener();
        const ov_status status = bridge()->answer(&listener, target.python, request, result);
        if (*result) results().add(*result);
        if (status == OV_OK) watch_for_exit();
        return status;
    });
}

ov_status check_question(const ov_request* request, ov_result** result) {
    if (result == nullptr) return missing("result");
    return check_request(request);
}

// A chat or watch of a session; `make` gets the session's object and gives its own.
template <class Handle, class Make>
ov_status open_on(ov_session* session, Kind kind, Handle** handle, Make make) {
    return with_target(session, Kind::session, [&](Target& owner) {
        const Listener listener = complaints();
        void* object = nullptr;
        if (const ov_status status = make(&listener, owner.python, &object)) return status;
        *handle = reinterpret_cast<Handle*>(handles().add(std::make_shared<Target>(kind, owner.gate, object)));
        return ov_status{OV_OK};
    });
}

}  // namespace
}  // namespace ovrun

using namespace ovrun;

uint32_t ov_abi_version(void) { return OV_ABI_VERSION; }

const char* ov_version(void) { return OVRUN_VERSION; }

const char* ov_status_text(ov_status status) {
    switch (status) {
        case OV_OK: return "ok";
        case OV_UNEXPECTED: return "unexpected error";
        case OV_USAGE: return "wrong usage";
        case OV_BAD_INPUT: return "bad input";
        case OV_LIMIT_EXCEEDED: return "limit exceeded";
        case OV_BUNDLE_INVALID: return "bundle or engine invalid";
        case OV_MISSING_DEPENDENCY: return "missing dependency or device";
        case OV_OUT_OF_MEMORY: return "out of memory";
        case OV_PARITY_FAILED: return "parity failed";
        case OV_INTERRUPTED: return "interrupted";
        case OV_BUSY: return "busy";
        default: return "unknown status";
    }
}

const char* ov_last_error(void) { return last_error().message.c_str(); }

const char* ov_last_hint(void) { return last_error().hint.c_str(); }

ov_status ov_start(void) { return call(start); }

ov_status ov_stop(void) {
    return call([] {
        if (bridge() == nullptr) return ov_status{OV_OK};
        if (Visit::depth() > 1) {
            return fail(OV_BUSY, "a callback can't stop what called it", "call it when that has returned");
        }
        close_everything();
        set_log(nullptr, 0, nullptr);
        bridge()->collect();
        return ov_status{OV_OK};
    });
}

ov_status ov_set_log(ov_log_callback callback, int32_t verbosity, void* user) {
    return call([&] {
        if (const ov_status status = start()) return status;
        return set_log(callback, verbosity, user);
    });
}

ov_status ov_session_open(const char* bundle_name, const ov_option* options, size_t num_options, ov_session** session) {
    clear(session);
    return call([&] {
        if (session == nullptr) return missing("session");
        if (const ov_status status = check_options(options, num_options)) return status;
        if (const ov_status status = start()) return status;
        const Listener listener = complaints();
        void* object = nullptr;
        const ov_status status = bridge()->open_session(&listener, bundle_name, options, num_options, &object);
        if (status) return status;
        auto target = std::make_shared<Target>(Kind::session, std::make_shared<Gate>(), object);
        *session = reinterpret_cast<ov_session*>(handles().add(std::move(target)));
        watch_for_exit();
        return status;
    });
}

ov_status ov_generate(
    ov_session* session, const ov_request* request, ov_text_callback callback, void* user, ov_result** result) {
    clear(result);
    return call([&] {
        if (const ov_status status = check_question(request, result)) return status;
        return ask(session, Kind::session, request, callback, user, result);
    });
}

ov_status ov_cancel(ov_session* session) {
    return call([&] { return cancel(session); });
}

ov_status ov_session_close(ov_session* session) {
    return give_back([&] { return close(session, Kind::session); });
}

ov_status ov_result_free(ov_result* result) {
    return give_back([&] {
        if (result == nullptr) return ov_status{OV_OK};
        if (!results().take(result)) return fail(OV_USAGE, "the result was given back before, or was never one", "");
        bridge()->free_result(result);
        return ov_status{OV_OK};
    });
}

ov_status ov_chat_open(
    ov_session* session, const char* system, const ov_option* options, size_t num_options, ov_chat** chat) {
    clear(chat);
    return call([&] {
        if (chat == nullptr) return missing("chat");
        if (const ov_status status = check_options(options, num_options)) return status;
        return open_on(session, Kind::chat, chat, [&](const Listener* listener, void* owner, void** object) {
            return bridge()->open_chat(listener, owner, system, options, num_options, object);
        });
    });
}

ov_status ov_chat_ask(
    ov_chat* chat, const ov_request* request, ov_text_callback callback, void* user, ov_result** result) {
    clear(result);
    return call([&] {
        if (const ov_status status = check_question(request, result)) return status;
        return ask(chat, Kind::chat, request, callback, user, result);
    });
}

ov_status ov_chat_close(ov_chat* chat) {
    return give_back([&] { return close(chat, Kind::chat); });
}

ov_status ov_watch_open(
    ov_session* session, const char* prompt, int32_t window, int32_t every, const ov_option* options,
    size_t num_options, ov_watch** watch) {
    clear(watch);
    return call([&] {
        if (watch == nullptr) return missing("watch");
        if (const ov_status status = check_options(options, num_options)) return status;
        return open_on(session, Kind::watch, watch, [&](const Listener* listener, void* owner, void** object) {
            return bridge()->open_watch(listener, owner, prompt, window, every, options, num_options, object);
        });
    });
}

ov_status ov_watch_push(
    ov_watch* watch, const ov_media* frame, ov_text_callback callback, void* user, ov_result** result) {
    clear(result);
    return call([&] {
        if (result == nullptr) return missing("result");
        if (frame == nullptr) return missing("frame");
        if (const ov_status status = check_media(*frame, "frame")) return status;
        ov_request request{};
        request.images = frame;
        request.num_images = 1;
        return ask(watch, Kind::watch, &request, callback, user, result);
    });
}

ov_status ov_watch_close(ov_watch* watch) {
    return give_back([&] { return close(watch, Kind::watch); });
}
