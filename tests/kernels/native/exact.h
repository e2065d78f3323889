// Memory of the exact size, so that sanitizers see what reads or writes too far, and numbers of one seed.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <random>

using Random = std::mt19937_64;

inline int64_t draw(Random& random, int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(random);
}

// Memory that ends where the array does, and starts `skip` bytes after an address that suits everything.
class Exact {
 public:
  Exact(int64_t bytes, int64_t skip) : skip_(skip), memory_(static_cast<char*>(std::malloc(skip + bytes))) {}
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(memory_.get() + skip_);
  }

 private:
  struct Free {
    void operator()(char* memory) const { std::free(memory); }
  };
  int64_t skip_;
  std::unique_ptr<char, Free> memory_;
};
