// Text that is handed in.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "error.hpp"

namespace ov {
namespace detail {

// As C has it, where a zero byte within would cut it.
inline const char* zero_ended(const std::string& text) {
    if (const auto at = text.find('\0'); at != std::string::npos) {
        throw Error(OV_BAD_INPUT, "the text has a zero byte at " + std::to_string(at), "leave it out");
    }
    return text.c_str();
}

}  // namespace detail

// A parameter: a literal, a string, a string_view or a path, copied.
class Text {
public:
    Text(const char* text) : text_(text ? text : "") {}
    Text(std::string text) : text_(std::move(text)) { detail::zero_ended(text_); }
    Text(std::string_view text) : Text(std::string(text)) {}
    Text(const std::filesystem::path& path) : Text(path.string()) {}

    const std::string& str() const { return text_; }
    const char* c_str() const { return text_.c_str(); }
    bool empty() const { return text_.empty(); }

private:
    std::string text_;
};

}  // namespace ov
