// A start that fails for its environment, and another one with the right.
//
//     retries BUNDLE EMPTY_HOME HOME
#include <cstdlib>
#include <ovrun.hpp>
#include <string>

#include "check.h"

int main(int argc, char** argv) {
    CHECK(argc == 4);
    setenv("OVRUN_PYTHON_HOME", argv[2], 1);
    CHECK(ov_start() == OV_MISSING_DEPENDENCY);
    CHECK(std::string(ov_last_error()).find("can't import ovrun") != std::string::npos);
    setenv("OVRUN_PYTHON_HOME", argv[3], 1);
    ov_session* session = nullptr;
    CHECK(ov_session_open(argv[1], nullptr, 0, &session) == OV_OK);
    return 0;
}
