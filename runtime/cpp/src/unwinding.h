// pthread_exit and pthread_cancel end a thread by an exception of their own, which must not be stopped.
#pragma once

#include <exception>

#if defined(__GLIBCXX__)
#include <cxxabi.h>
#define OVRUN_LET_THREADS_END \
    catch (const abi::__forced_unwind&) { throw; }
#else
#define OVRUN_LET_THREADS_END
#endif
