# libovk_cuda, and with TensorRT's headers the plugin in two flavours: for IPluginRegistry::loadLibrary, and
# (_registered) for programs that only open it.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  message(FATAL_ERROR "set CMAKE_CUDA_ARCHITECTURES, or use the preset cuda")
endif()
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)

add_library(cuda OBJECT csrc/cuda/launch.cpp csrc/cuda/token_pool.cu)
target_compile_options(cuda PRIVATE
  "$<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings;-Xcompiler=-Wall,-Wextra,-ffp-contract=off>")
set(kernel $<TARGET_OBJECTS:abi> $<TARGET_OBJECTS:cuda>)

add_library(ovk_cuda SHARED ${kernel})
target_link_libraries(ovk_cuda PRIVATE CUDA::cudart_static)

if(NOT EXISTS "${TENSORRT_INCLUDE_DIR}/NvInferRuntime.h")
  message(STATUS "the TensorRT plugin is skipped: TENSORRT_INCLUDE_DIR does not name a folder with NvInferRuntime.h")
  return()
endif()

# An engine's plugin must be of the engine's own major version, so the file says which that is.
set(define "define (NV_TENSORRT_MAJOR|TRT_MAJOR_ENTERPRISE) +[0-9]")
file(STRINGS "${TENSORRT_INCLUDE_DIR}/NvInferVersion.h" major REGEX "${define}")
string(REGEX MATCH "[0-9]+" major "${major}")
set(name ovk_tensorrt${major}_cuda${CUDAToolkit_VERSION_MAJOR})
foreach(flavour "" "_registered")
  add_library(${name}${flavour} MODULE ${plugin} ${kernel})
  target_include_directories(${name}${flavour} SYSTEM PRIVATE "${TENSORRT_INCLUDE_DIR}")
  target_link_libraries(${name}${flavour} PRIVATE CUDA::cudart_static ${CMAKE_DL_LIBS})
  target_link_options(${name}${flavour} PRIVATE LINKER:-Bsymbolic)  # its own kernel, whatever else is loaded
endforeach()
target_sources(${name}_registered PRIVATE csrc/tensorrt/registered.cpp)
