#pragma once

#include "../bridge.h"

namespace ovrun {

const Bridge& table();

}  // namespace ovrun
