// The flavour that registers itself when it is loaded, for ONNX Runtime's TensorRT provider: that one opens the files
// of `trt_extra_plugin_lib_paths` and calls nothing in them.
//
// TensorRT is looked up in the process instead of linked with, so that the library is built without libnvinfer and
// finds whichever copy the provider has loaded, be its symbols global or not.
#include <dlfcn.h>

#include <cstdio>

#include "plugin.h"

#define OVK_TEXT_OF(x) #x
#define OVK_TEXT(x) OVK_TEXT_OF(x)

namespace ovk::tensorrt {
namespace {

constexpr const char* kLibrary = "libnvinfer.so." OVK_TEXT(NV_TENSORRT_MAJOR);

nvinfer1::IPluginRegistry* registry() {
  void* symbol = dlsym(RTLD_DEFAULT, "getPluginRegistry");
  if (!symbol) {
    if (void* library = dlopen(kLibrary, RTLD_LAZY | RTLD_NOLOAD)) symbol = dlsym(library, "getPluginRegistry");
  }
  return symbol ? reinterpret_cast<decltype(&getPluginRegistry)>(symbol)() : nullptr;
}

bool register_creator() {
  nvinfer1::IPluginRegistry* found = registry();
  if (!found) std::fprintf(stderr, "%s is not registered: %s is not loaded in this process\n", kName, kLibrary);
  return found && found->registerCreator(creator(), kNamespace);
}

const bool registered = register_creator();

}  // namespace
}  // namespace ovk::tensorrt
