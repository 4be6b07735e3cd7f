# What the build needs and what it may use, each with one line that says what was found or what is missing.
find_path(NLOHMANN_JSON_INCLUDE_DIR nlohmann/json.hpp HINTS ${NLOHMANN_JSON_ROOT} PATH_SUFFIXES include)
if(NOT NLOHMANN_JSON_INCLUDE_DIR)
  message(FATAL_ERROR "nlohmann/json.hpp was not found: install nlohmann-json3-dev (Debian, Ubuntu), nlohmann-json "
                      "(Homebrew, vcpkg), or give -DNLOHMANN_JSON_ROOT=<directory>.")
endif()

find_path(TENSORRT_INCLUDE_DIR NvInferRuntime.h HINTS ${TENSORRT_ROOT} ENV TENSORRT_ROOT PATH_SUFFIXES include)
find_path(CUDA_INCLUDE_DIR cuda_runtime_api.h
  HINTS ${CUDAToolkit_ROOT} ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES include targets/x86_64-linux/include)
if(TENSORRT_INCLUDE_DIR AND CUDA_INCLUDE_DIR)
  message(STATUS "TensorRT: built, with the headers in ${TENSORRT_INCLUDE_DIR}")
  set(TEMPORT_TENSORRT_SOURCE src/tensorrt.cpp src/cuda_library.cpp)
  set(TEMPORT_TENSORRT_INCLUDE_DIRS ${TENSORRT_INCLUDE_DIR} ${CUDA_INCLUDE_DIR})
else()
  message(STATUS "TensorRT: not built, NvInferRuntime.h and cuda_runtime_api.h were not both found "
                 "(-DTENSORRT_ROOT=<sdk> -DCUDAToolkit_ROOT=<cuda>)")
  set(TEMPORT_TENSORRT_SOURCE src/tensorrt_absent.cpp)
  set(TEMPORT_TENSORRT_INCLUDE_DIRS "")
endif()
