// A shared library made of bytes in memory.
#pragma once

#include <memory>
#include <string>

#include "temport/result.hpp"
#include "tensor.h"

namespace temport::internal {

// What is loaded is what was checked: the bytes go into a file in memory that has no name and is sealed against any change,
// and from there into the loader. Its symbols are seen through `symbol` alone. Unloaded with the object.
class MemoryLibrary {
 public:
  // `name` is for the sentence that says why it cannot be loaded.
  static Result<std::shared_ptr<const MemoryLibrary>> load(const Bytes& bytes, const std::string& name);
  MemoryLibrary(const MemoryLibrary&) = delete;
  MemoryLibrary& operator=(const MemoryLibrary&) = delete;
  ~MemoryLibrary();

  void* symbol(const char* name) const;

 private:
  MemoryLibrary() = default;
  // The loader knows a library by its path, /proc/self/fd/N: N stays taken as long as the library is loaded.
  int fd_ = -1;
  void* handle_ = nullptr;
};

}  // namespace temport::internal
