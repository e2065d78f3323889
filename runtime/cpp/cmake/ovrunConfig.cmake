# find_package(ovrun CONFIG): the target ovrun::ovrun. The folder above holds include/ and lib/, installed or checked out.
get_filename_component(_ovrun_root "${CMAKE_CURRENT_LIST_DIR}/.." ABSOLUTE)
set(_ovrun_library "${_ovrun_root}/lib/libovrun${CMAKE_SHARED_LIBRARY_SUFFIX}")

if(NOT EXISTS "${_ovrun_library}")
  set(ovrun_FOUND FALSE)
  set(ovrun_NOT_FOUND_MESSAGE "${_ovrun_library} is not there: ovrun was installed without a compiler")
  return()
endif()
if(NOT TARGET ovrun::ovrun)
  add_library(ovrun::ovrun SHARED IMPORTED)
  set_target_properties(ovrun::ovrun PROPERTIES
    IMPORTED_LOCATION "${_ovrun_library}"
    IMPORTED_NO_SONAME TRUE
    INTERFACE_INCLUDE_DIRECTORIES "${_ovrun_root}/include"
    INTERFACE_COMPILE_FEATURES cxx_std_17)
endif()
unset(_ovrun_library)
unset(_ovrun_root)
