// ovrun in C++17: see ovrun.h for what holds for every call. Header only, over the C ABI, so any compiler goes with any
// build of the library. Errors are ov::Error; objects close what they hold; a moved-from one holds nothing.
//
//     auto session = ov::Session::open();
//     std::cout << session.generate("What is this?", {ov::file("image.jpg")}).text << "\n";
#pragma once

#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <iomanip>
#include <limits>
#include <locale>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#if __cplusplus >= 202002L && __has_include(<span>)
#include <span>
#endif

#include "ovrun.h"

namespace ov {

// What went wrong (what()) and what to do about it (hint()).
class Error : public std::runtime_error {
public:
    Error(ov_status code, const std::string& message, std::string hint)
        : std::runtime_error(message), code_(code), hint_(std::move(hint)) {}
    ov_status code() const noexcept { return code_; }
    const std::string& hint() const noexcept { return hint_; }

private:
    ov_status code_;
    std::string hint_;
};

#if defined(__cpp_lib_span)
template <class T>
using span = std::span<T>;
#else
// Somebody else's items in a row, of anything that has data() and size(): std::span, where the compiler has it.
template <class T>
class span {
public:
    constexpr span() = default;
    constexpr span(T* data, std::size_t size) : data_(data), size_(size) {}
    template <class Items, class = decltype(static_cast<T*>(std::declval<Items&>().data()))>
    constexpr span(Items&& items) : data_(items.data()), size_(items.size()) {}
    constexpr T* data() const { return data_; }
    constexpr std::size_t size() const { return size_; }
    constexpr T* begin() const { return data_; }
    constexpr T* end() const { return data_ + size_; }

private:
    T* data_ = nullptr;
    std::size_t size_ = 0;
};
#endif

namespace detail {

inline void check(ov_status status) {
    if (status == OV_OK) return;
    const std::string message = ov_last_error();
    throw Error(status, message.empty() ? ov_status_text(status) : message, ov_last_hint());
}

inline void check_version() {
    if (ov_abi_version() == OV_ABI_VERSION) return;
    throw Error(OV_USAGE, "libovrun is of another version than ovrun.hpp", "compile with the headers of the library");
}

}  // namespace detail

// --- What is asked ---------------------------------------------------------------------------------------------------

// Options under their names on the command line: ov::Options().set("max-new-tokens", 32).set("anyres-multi").
class Options {
public:
    Options& set(std::string name) { return add(std::move(name), std::nullopt); }
    Options& set(std::string name, bool on) { return add(std::move(name), on ? "true" : "false"); }
    Options& set(std::string name, const char* text) {
        return text ? add(std::move(name), std::string(text)) : add(std::move(name), std::nullopt);
    }
    Options& set(std::string name, std::string text) { return add(std::move(name), std::move(text)); }
    template <class Number, class = std::enable_if_t<std::is_arithmetic_v<Number>>>
    Options& set(std::string name, Number number) {
        if constexpr (std::is_integral_v<Number>) {
            return add(std::move(name), std::to_string(number));
        } else {
            std::ostringstream text;  // all digits, and a point whatever the locale
            text.imbue(std::locale::classic());
            text << std::setprecision(std::numeric_limits<Number>::max_digits10) << number;
            return add(std::move(name), text.str());
        }
    }

    // Valid while this object is not changed.
    std::vector<ov_option> list() const {
        std::vector<ov_option> all;
        for (const auto& [name, value] : items_) all.push_back({name.c_str(), value ? value->c_str() : nullptr});
        return all;
    }

private:
    Options& add(std::string name, std::optional<std::string> value) {
        items_.emplace_back(std::move(name), std::move(value));
        return *this;
    }
    std::vector<std::pair<std::string, std::optional<std::string>>> items_;
};

// An image or a video: a file, the bytes of one, or pixels. Bytes and pixels stay where they are and must be there
// until the call that gets them returns.
class Media {
public:
    Media(std::string path) : path_(std::move(path)) { media_.kind = OV_FILE; }
    Media(const char* path) : Media(std::string(path)) {}
    Media(const std::filesystem::path& path) : Media(path.string()) {}
    Media(const ov_frame& frame) {
        media_.kind = OV_FRAME;
        media_.frame = frame;
    }
    static Media bytes(span<const unsigned char> encoded) {
        Media media{std::string()};
        media.media_.kind = OV_BYTES;
        media.media_.bytes = encoded.data();
        media.media_.num_bytes = encoded.size();
        return media;
    }

    // Valid while this object is.
    ov_media get() const {
        ov_media media = media_;
        if (media.kind == OV_FILE) media.path = path_.c_str();
        return media;
    }

private:
    std::string path_;
    ov_media media_{};
};

inline Media file(const std::filesystem::path& path) { return Media(path); }
inline Media bytes(span<const unsigned char> encoded) { return Media::bytes(encoded); }

// Pixels in memory, of one plane. `stride_bytes` as in ov_frame.
inline ov_frame pixels(
    ov_format format, const void* data, int width_px, int height_px, std::int64_t stride_bytes = 0) {
    return {format, OV_BT601, width_px, height_px, {data, nullptr}, {stride_bytes, 0}};
}

inline ov_frame nv12(
    const void* luma, const void* chroma, int width_px, int height_px, std::int64_t luma_stride_bytes = 0,
    std::int64_t chroma_stride_bytes = 0, ov_colour colour = OV_BT601) {
    return {OV_NV12, colour, width_px, height_px, {luma, chroma}, {luma_stride_bytes, chroma_stride_bytes}};
}

// A cv::Mat of bytes, or what looks like one: grey, BGR or BGRA by its channels, unless another format is named.
template <class Mat, class = decltype(std::declval<const Mat&>().elemSize1())>
ov_frame pixels(const Mat& mat, std::optional<ov_format> format = std::nullopt) {
    const int channels = mat.channels();
    if (mat.elemSize1() != 1 || (channels != 1 && channels != 3 && channels != 4)) {
        throw Error(OV_BAD_INPUT, "the matrix has no bytes in 1, 3 or 4 channels", "convert it to CV_8U");
    }
    const ov_format usual = channels == 1 ? OV_GREY : channels == 3 ? OV_BGR : OV_BGRA;
    return pixels(format.value_or(usual), mat.data, mat.cols, mat.rows, static_cast<std::int64_t>(mat.step[0]));
}

// One question. What is not set is as on the command line.
struct Request {
    std::optional<std::string> prompt;
    std::vector<Media> images;
    std::vector<Media> video;  // one file, or frames in order
    Options options;
    std::optional<std::string> system;  // not of a chat
};

// --- What is answered ------------------------------------------------------------------------------------------------

struct Result {
    std::string text;
    std::string finish_reason;  // stop, stop_string, length, interrupted
    std::vector<std::int64_t> token_ids;
    std::int64_t prompt_tokens = 0, reused_tokens = 0, image_tokens = 0, tiles = 0;
    ov_timings_ms timings_ms{};
    std::vector<std::string> warnings;
    std::string json;  // as `ovrun --json` prints it
};

namespace detail {

// Takes the result of C over, and gives it back.
inline Result take(ov_result* from) {
    struct Giver {
        ov_result* result;
        ~Giver() { ov_result_free(result); }
    } const giver{from};
    Result result;
    result.text.assign(from->text, from->num_text_bytes);
    result.finish_reason = from->finish_reason;
    result.token_ids.assign(from->token_ids, from->token_ids + from->num_token_ids);
    result.prompt_tokens = from->prompt_tokens;
    result.reused_tokens = from->reused_tokens;
    result.image_tokens = from->image_tokens;
    result.tiles = from->tiles;
    result.timings_ms = from->timings_ms;
    result.warnings.assign(from->warnings, from->warnings + from->num_warnings);
    result.json = from->json;
    return result;
}

// A callable of C++ for C, which must not throw: what it throws ends the answer and is thrown again behind it.
class Listener {
public:
    template <class Callback>
    explicit Listener(Callback&& callback) {
        if constexpr (std::is_same_v<std::invoke_result_t<Callback&, std::string_view>, void>) {
            say_ = [&callback](std::string_view piece) { return callback(piece), true; };
        } else {
            say_ = [&callback](std::string_view piece) { return static_cast<bool>(callback(piece)); };
        }
    }
    explicit Listener(std::nullptr_t) {}

    ov_text_callback function() const { return say_ ? &Listener::call : nullptr; }
    void rethrow() const {
        if (thrown_) std::rethrow_exception(thrown_);
    }

private:
    static std::int32_t call(const char* piece, std::size_t num_bytes, void* user) {
        auto& me = *static_cast<Listener*>(user);
        try {
            return me.say_(std::string_view(piece, num_bytes)) ? 0 : 1;
        } catch (...) {
            me.thrown_ = std::current_exception();
            return 1;
        }
    }
    std::function<bool(std::string_view)> say_;
    std::exception_ptr thrown_;
};

// The result of a call that asks; none where no answer was due.
template <class Ask>
std::optional<Result> listen(Listener& listener, Ask ask) {
    ov_result* result = nullptr;
    const ov_status status = ask(listener.function(), &listener, &result);
    std::optional<Result> taken;
    if (result) taken = take(result);
    listener.rethrow();
    check(status);
    return taken;
}

// A request as C has it, for as long as it and the original live.
class RequestView {
public:
    explicit RequestView(const Request& from) : options_(from.options.list()) {
        for (const auto& image : from.images) images_.push_back(image.get());
        for (const auto& video : from.video) video_.push_back(video.get());
        request_.prompt = from.prompt ? from.prompt->c_str() : nullptr;
        request_.system = from.system ? from.system->c_str() : nullptr;
        request_.images = images_.data();
        request_.num_images = images_.size();
        request_.video = video_.data();
        request_.num_video = video_.size();
        request_.options = options_.data();
        request_.num_options = options_.size();
    }
    const ov_request* get() const { return &request_; }

private:
    std::vector<ov_media> images_, video_;
    std::vector<ov_option> options_;
    ov_request request_{};
};

// A handle of C, closed at the end of its owner; null when moved from or closed.
template <class Handle, ov_status (*close_handle)(Handle*)>
class Owned {
public:
    explicit Owned(Handle* handle) : handle_(handle) {}
    Owned(Owned&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    Owned& operator=(Owned&& other) noexcept {
        std::swap(handle_, other.handle_);
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

// A callback gets each piece of text as a string_view; where it returns false the answer ends, with the finish_reason
// "interrupted". What it throws comes out of the call. Callbacks are called by the thread that asks.

// A conversation: each turn reads only what is new.
class Chat {
public:
    Result ask(const Request& request) { return ask(request, nullptr); }
    template <class Callback>
    Result ask(const Request& request, Callback&& callback) {
        detail::Listener listener(std::forward<Callback>(callback));
        const detail::RequestView view(request);
        return *detail::listen(listener, [&](auto function, void* user, ov_result** result) {
            return ov_chat_ask(handle_.get(), view.get(), function, user, result);
        });
    }
    Result ask(std::string prompt, std::vector<Media> images = {}) {
        Request request;
        request.prompt = std::move(prompt);
        request.images = std::move(images);
        return ask(request);
    }
    void close() { handle_.close(); }

private:
    friend class Session;
    explicit Chat(ov_chat* handle) : handle_(handle) {}
    detail::Owned<ov_chat, ov_chat_close> handle_;
};

// A standing question about the last frames of a stream.
class Watch {
public:
    // The answer, where one is due after this frame.
    std::optional<Result> push(const Media& frame) { return push(frame, nullptr); }
    template <class Callback>
    std::optional<Result> push(const Media& frame, Callback&& callback) {
        detail::Listener listener(std::forward<Callback>(callback));
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
    static Session open(const std::string& bundle = "", const Options& options = {}) {
        detail::check_version();
        const auto list = options.list();
        ov_session* session = nullptr;
        detail::check(ov_session_open(bundle.empty() ? nullptr : bundle.c_str(), list.data(), list.size(), &session));
        return Session(session);
    }

    Result generate(const Request& request) { return generate(request, nullptr); }
    template <class Callback>
    Result generate(const Request& request, Callback&& callback) {
        detail::Listener listener(std::forward<Callback>(callback));
        const detail::RequestView view(request);
        return *detail::listen(listener, [&](auto function, void* user, ov_result** result) {
            return ov_generate(handle_.get(), view.get(), function, user, result);
        });
    }
    Result generate(std::string prompt, std::vector<Media> images, const Options& options = {}) {
        return generate(std::move(prompt), std::move(images), options, nullptr);
    }
    template <class Callback>
    Result generate(std::string prompt, std::vector<Media> images, const Options& options, Callback&& callback) {
        Request request;
        request.prompt = std::move(prompt);
        request.images = std::move(images);
        request.options = options;
        return generate(request, std::forward<Callback>(callback));
    }

    Chat chat(const Options& options = {}, const std::optional<std::string>& system = std::nullopt) {
        const auto list = options.list();
        ov_chat* chat = nullptr;
        const char* turn = system ? system->c_str() : nullptr;
        detail::check(ov_chat_open(handle_.get(), turn, list.data(), list.size(), &chat));
        return Chat(chat);
    }

    // Answered about the last `window` frames, after each `every` frames.
    Watch watch(const std::string& prompt, int window = 8, int every = 1, const Options& options = {}) {
        const auto list = options.list();
        ov_watch* watch = nullptr;
        detail::check(ov_watch_open(handle_.get(), prompt.c_str(), window, every, list.data(), list.size(), &watch));
        return Watch(watch);
    }

    void cancel() { detail::check(ov_cancel(handle_.get())); }  // from any thread: ends the answer that is being made
    void close() { handle_.close(); }

private:
    explicit Session(ov_session* handle) : handle_(handle) {}
    detail::Owned<ov_session, ov_session_close> handle_;
};

inline void start() { detail::check(ov_start()); }
inline void stop() { detail::check(ov_stop()); }

}  // namespace ov
