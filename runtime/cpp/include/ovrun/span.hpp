// Somebody else's items in a row: std::span, where the compiler has it.
#pragma once

#include <cstddef>
#include <utility>

#if __cplusplus >= 202002L && __has_include(<span>)
#include <span>
#endif

namespace ov {

#if defined(__cpp_lib_span)
template <class T>
using span = std::span<T>;
#else
// Of anything that has data() and size().
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

}  // namespace ov
