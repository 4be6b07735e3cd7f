// The stand-in runtime as the tests load it.
#pragma once

#include <dlfcn.h>
#include <link.h>

#include <string>

#include "temport/temport.hpp"

// A library that is no op library, by the absolute path that the loader knows it by.
inline std::string some_library() {
  link_map* map = nullptr;
  ::dlinfo(::dlopen("libm.so.6", RTLD_NOW), RTLD_DI_LINKMAP, &map);
  return map->l_name;
}

// `ops` "none": its step model runs as a function body would, or else as with native kernels.
inline temport::SessionOptions stand_in(const std::string& ops = "none") {
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
