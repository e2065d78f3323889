// Sessions, and the chats and watches of one.
//
// A callback gets each piece of text as a string_view; where it returns false the answer ends, with the finish_reason
// "interrupted". What it throws comes out of the call. Callbacks are called by the thread that asks.
#pragma once

#include <cstddef>
#include <optional>
#include <utility>

#include "error.hpp"
#include "listener.hpp"
#include "media.hpp"
#include "options.hpp"
#include "request.hpp"
#include "result.hpp"
#include "text.hpp"

namespace ov {
namespace detail {

// A handle of C, closed at the end of its owner; null when moved from or closed.
template <class Handle, ov_status (*close_handle)(Handle*)>
class Owned {
public:
    explicit Owned(Handle* handle) : handle_(handle) {}
    Owned(Owned&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    Owned& operator=(Owned&& other) noexcept {
        Owned old(std::move(other));
        std::swap(handle_, old.handle_);
        return *this;
    }
    ~Owned() {
        if (handle_) close_handle(handle_);
    }
    Handle* get() const { return handle_; }
    void close() {
        if (handle_) check(close_handle(handle_));
        handle_ = nullptr;
    }

private:
    Handle* handle_;
};

}  // namespace detail

// A conversation: each turn reads only what is new.
class Chat {
public:
    template <class Callback = std::nullptr_t>
    Result ask(const Request& request, Callback&& callback = nullptr) {
        return ask(detail::RequestView(request), callback);
    }
    template <class Callback = std::nullptr_t>
    Result ask(const Text& prompt, const MediaList& images = {}, Callback&& callback = nullptr) {
        return ask(detail::RequestView(prompt.c_str(), images, {}), callback);
    }
    void close() { handle_.close(); }

private:
    friend class Session;
    explicit Chat(ov_chat* handle) : handle_(handle) {}
    template <class Callback>
    Result ask(const detail::RequestView& request, Callback& callback) {
        detail::Listener listener(callback);
        return *detail::listen(listener, [&](auto function, void* user, ov_result** result) {
            return ov_chat_ask(handle_.get(), request.get(), function, user, result);
        });
    }
    detail::Owned<ov_chat, ov_chat_close> handle_;
};

// A standing question about the last frames of a stream.
class Watch {
public:
    // The answer, where one is due after this frame.
    template <class Callback = std::nullptr_t>
    std::optional<Result> push(const Media& frame, Callback&& callback = nullptr) {
        detail::Listener listener(callback);
        const ov_media media = frame.get();
        return detail::listen(listener, [&](auto function, void* user, ov_result** result) {
            return ov_watch_push(handle_.get(), &media, function, user, result);
        });
    }
    void close() { handle_.close(); }

private:
    friend class Session;
    explicit Watch(ov_watch* handle) : handle_(handle) {}
    detail::Owned<ov_watch, ov_watch_close> handle_;
};

// An opened bundle. Its chats and watches are closed with it.
class Session {
public:
    // `bundle`: a folder, or a name in $OV_HOME/bundles; "" is the newest there.
    static Session open(const Text& bundle = "", const Options& options = {}) {
        detail::check_version();
        const auto list = options.list();
        ov_session* session = nullptr;
        detail::check(ov_session_open(bundle.empty() ? nullptr : bundle.c_str(), list.data(), list.size(), &session));
        return Session(session);
    }

    template <class Callback = std::nullptr_t>
    Result generate(const Request& request, Callback&& callback = nullptr) {
        return generate(detail::RequestView(request), callback);
    }
    template <class Callback = std::nullptr_t>
    Result generate(const Text& prompt, const MediaList& images, const Options& options = {},
                    Callback&& callback = nullptr) {
        return generate(detail::RequestView(prompt.c_str(), images, options), callback);
    }

    // `system`: the system turn, that of training unless given.
    Chat chat(const Options& options = {}, const std::optional<Text>& system = std::nullopt) {
        const auto list = options.list();
        ov_chat* chat = nullptr;
        const char* turn = system ? system->c_str() : nullptr;
        detail::check(ov_chat_open(handle_.get(), turn, list.data(), list.size(), &chat));
        return Chat(chat);
    }

    // Answered about the last `window` frames, after each `every` frames.
    Watch watch(const Text& prompt, int window = 8, int every = 1, const Options& options = {}) {
        const auto list = options.list();
        ov_watch* watch = nullptr;
        detail::check(ov_watch_open(handle_.get(), prompt.c_str(), window, every, list.data(), list.size(), &watch));
        return Watch(watch);
    }

    void cancel() { detail::check(ov_cancel(handle_.get())); }  // from any thread: ends the answer that is being made
    void close() { handle_.close(); }

private:
    explicit Session(ov_session* handle) : handle_(handle) {}
    template <class Callback>
    Result generate(const detail::RequestView& request, Callback& callback) {
        detail::Listener listener(callback);
        return *detail::listen(listener, [&](auto function, void* user, ov_result** result) {
            return ov_generate(handle_.get(), request.get(), function, user, result);
        });
    }
    detail::Owned<ov_session, ov_session_close> handle_;
};

}  // namespace ov
