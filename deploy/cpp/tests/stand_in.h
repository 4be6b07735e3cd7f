// The stand-in runtime as the tests load it.
#pragma once

#include <dlfcn.h>

#include "temport/temport.hpp"

// `ops` "none": its step model runs as a function body would, or else as with native kernels.
inline temport::SessionOptions stand_in(const char* ops = "none") {
  temport::SessionOptions options;
  options.library = STAND_IN_RUNTIME;
  options.ops = ops;
  return options;
}

// The stand-in is also the op library.
inline temport::SessionOptions stand_in_kernels() { return stand_in(STAND_IN_RUNTIME); }

inline int ask_stand_in(const char* question) {
  void* handle = ::dlopen(STAND_IN_RUNTIME, RTLD_NOW);
  const int count = reinterpret_cast<int (*)()>(::dlsym(handle, question))();
  ::dlclose(handle);
  return count;
}

// Objects of the stand-in that were created and not released.
inline int live_objects() { return ask_stand_in("stand_in_live_objects"); }

// Caches that step models copied from one buffer to another.
inline int copied_caches() { return ask_stand_in("stand_in_copied_caches"); }
