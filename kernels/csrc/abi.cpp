// The queries of the C ABI, the same in every library.
#include "../include/ovk.h"

extern "C" {

const char* ovk_version(void) { return OVK_VERSION; }

int32_t ovk_abi_version(void) { return OVK_ABI_VERSION; }

const char* ovk_status_text(int32_t status) {
  switch (status) {
    case OVK_OK:
      return "ok";
    case OVK_NULL_POINTER:
      return "a pointer is null where something is to be read or written";
    case OVK_BAD_SHAPE:
      return "a size is negative or too large";
    case OVK_BAD_DTYPE:
      return "the dtype is none of float32, float16, bfloat16";
    case OVK_BAD_ALIGNMENT:
      return "a pointer is no multiple of its element's size";
    case OVK_BAD_OPTION:
      return "the number of threads or of rows in flight is none that there is";
    case OVK_BAD_INDEX:
      return "an index leaves the rows or samples";
    case OVK_DEVICE_FAILED:
      return "the device refused the launch";
    default:
      return "unknown status";
  }
}

}  // extern "C"
