// Options of the command line.
#pragma once

#include <iomanip>
#include <limits>
#include <locale>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "text.hpp"

namespace ov {

// Under their names there: ov::Options().set("max-new-tokens", 32).set("anyres-multi").
class Options {
public:
    Options& set(const Text& name) { return add(name, std::nullopt); }
    Options& set(const Text& name, bool on) { return add(name, Text(on ? "true" : "false")); }
    Options& set(const Text& name, char character) { return set(name, std::string_view(&character, 1)); }
    Options& set(const Text& name, const char* text) { return text ? set(name, std::string_view(text)) : set(name); }
    Options& set(const Text& name, std::string_view text) { return add(name, Text(text)); }
    template <class Number, class = std::enable_if_t<std::is_arithmetic_v<Number>>>
    Options& set(const Text& name, Number number) {
        if constexpr (std::is_integral_v<Number>) {
            return add(name, Text(std::to_string(number)));
        } else {
            std::ostringstream text;  // all digits, and a point whatever the locale
            text.imbue(std::locale::classic());
            text << std::setprecision(std::numeric_limits<Number>::max_digits10) << number;
            return add(name, Text(text.str()));
        }
    }

    // Valid while this object is not changed.
    std::vector<ov_option> list() const {
        std::vector<ov_option> all;
        for (const auto& [name, value] : items_) all.push_back({name.c_str(), value ? value->c_str() : nullptr});
        return all;
    }

private:
    Options& add(const Text& name, std::optional<Text> value) {
        items_.emplace_back(name, std::move(value));
        return *this;
    }
    std::vector<std::pair<Text, std::optional<Text>>> items_;
};

}  // namespace ov
