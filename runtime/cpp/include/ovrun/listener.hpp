// Callbacks of C++ for C.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <string_view>
#include <type_traits>

#include "error.hpp"
#include "result.hpp"

#if defined(__GLIBCXX__)
#include <cxxabi.h>
#endif

namespace ov::detail {

// A callable that gets text and may say no, for C, which nothing must be thrown through: that ends the answer and is
// thrown again behind it.
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
        }
#if defined(__GLIBCXX__)
        catch (const abi::__forced_unwind&) {  // the end of the thread, which can't be stopped
            throw;
        }
#endif
        catch (...) {
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

}  // namespace ov::detail
