// ovrun in C++17: see ovrun.h for what holds for every call. Header only, over the C ABI, so any compiler goes with any
// build of the library. Errors are ov::Error; objects close what they hold; a moved-from one holds nothing.
//
//     auto session = ov::Session::open();
//     std::cout << session.generate("What is this?", {ov::file("image.jpg")}).text << "\n";
#pragma once

#include "ovrun/error.hpp"
#include "ovrun/log.hpp"
#include "ovrun/media.hpp"
#include "ovrun/options.hpp"
#include "ovrun/request.hpp"
#include "ovrun/result.hpp"
#include "ovrun/session.hpp"

namespace ov {

inline void start() { detail::check(ov_start()); }
inline void stop() { detail::check(ov_stop()); }

}  // namespace ov
