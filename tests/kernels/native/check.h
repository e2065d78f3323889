// As much of a test framework as two programs need: failures are printed and counted, the count is the exit status.
#pragma once

#include <atomic>
#include <cstdio>

inline std::atomic<int> num_failed{0};

#define CHECK(condition, ...)                                            \
  do {                                                                   \
    if (!(condition)) {                                                  \
      ++num_failed;                                                      \
      std::fprintf(stderr, "%s:%d: %s", __FILE__, __LINE__, #condition); \
      std::fprintf(stderr, "  " __VA_ARGS__);                            \
      std::fprintf(stderr, "\n");                                        \
    }                                                                    \
  } while (false)
