// The stand-in runtime as the tests load it.
#pragma once

#include <dlfcn.h>

#include "temport/temport.hpp"

inline temport::SessionOptions stand_in() {
  temport::SessionOptions options;
  options.library = STAND_IN_RUNTIME;
  return options;
}

// Objects of the stand-in that were created and not released.
inline int live_objects() {
  void* handle = ::dlopen(STAND_IN_RUNTIME, RTLD_NOW);
  const int count = reinterpret_cast<int (*)()>(::dlsym(handle, "stand_in_live_objects"))();
  ::dlclose(handle);
  return count;
}
