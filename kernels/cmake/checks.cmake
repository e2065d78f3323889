# What runs without a GPU: the kernel emulated, for tests to load in place of libovk_cuda, and programs that check
# memory and threads under sanitizers.
set(programs ${CMAKE_CURRENT_SOURCE_DIR}/../tests/kernels/native)

add_library(emulated OBJECT csrc/cuda/launch.cpp csrc/cuda/emulated.cpp)
set(kernel $<TARGET_OBJECTS:abi> $<TARGET_OBJECTS:emulated>)
add_library(ovk_emulated SHARED ${kernel})

add_executable(check_token_pool ${programs}/check_token_pool.cpp ${kernel} $<TARGET_OBJECTS:cpu>)
target_link_libraries(check_token_pool PRIVATE Threads::Threads)
add_test(NAME token_pool COMMAND check_token_pool)

add_executable(check_resample ${programs}/check_resample.cpp $<TARGET_OBJECTS:abi> $<TARGET_OBJECTS:cpu>)
target_link_libraries(check_resample PRIVATE Threads::Threads)
add_test(NAME resample COMMAND check_resample)

if(NOT EXISTS "${TENSORRT_INCLUDE_DIR}/NvInferRuntime.h")
  message(STATUS "the plugin's check is skipped: TENSORRT_INCLUDE_DIR does not name a folder with NvInferRuntime.h")
  return()
endif()
find_package(CUDAToolkit QUIET)  # headers alone: those of TensorRT 11 include CUDA's

add_library(ovk_plugin_registered MODULE ${plugin} csrc/tensorrt/registered.cpp ${kernel})
add_executable(check_plugin ${programs}/check_plugin.cpp ${plugin} ${kernel})
foreach(target ovk_plugin_registered check_plugin)
  target_include_directories(${target} SYSTEM PRIVATE "${TENSORRT_INCLUDE_DIR}" ${CUDAToolkit_INCLUDE_DIRS})
  target_link_libraries(${target} PRIVATE ${CMAKE_DL_LIBS})
endforeach()
set_target_properties(check_plugin PROPERTIES ENABLE_EXPORTS ON)  # it stands in for libnvinfer's getPluginRegistry
add_test(NAME plugin COMMAND check_plugin $<TARGET_FILE:ovk_plugin_registered>)
