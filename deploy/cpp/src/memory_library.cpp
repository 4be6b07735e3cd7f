#include "memory_library.h"

#include <cerrno>
#include <cstring>
#include <dlfcn.h>
#include <unistd.h>

#if defined(__linux__)
#include <fcntl.h>
#include <sys/mman.h>
#endif

namespace temport::internal {
namespace {

#if defined(__linux__)

bool write_all(int fd, const Bytes& bytes) {
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t put = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (put < 0 && errno != EINTR) return false;
    if (put > 0) done += static_cast<size_t>(put);
  }
  return true;
}

// A file without a name that holds the bytes and can never hold others; -1 with errno.
int sealed_file(const Bytes& bytes) {
  const int fd = ::memfd_create("temport", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0 || (write_all(fd, bytes) &&
                 ::fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0))
    return fd;
  ::close(fd);
  return -1;
}

#else

int sealed_file(const Bytes&) {
  errno = ENOSYS;
  return -1;
}

#endif

}  // namespace

Result<std::shared_ptr<const MemoryLibrary>> MemoryLibrary::load(const Bytes& bytes, const std::string& name) {
  std::shared_ptr<MemoryLibrary> library(new MemoryLibrary);
  library->fd_ = sealed_file(bytes);
  if (library->fd_ < 0) return unavailable(name + " cannot be held in memory: " + std::strerror(errno));
  const std::string path = "/proc/self/fd/" + std::to_string(library->fd_);
  library->handle_ = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library->handle_) return unavailable(name + " cannot be loaded: " + ::dlerror());
  return std::shared_ptr<const MemoryLibrary>(std::move(library));
}

MemoryLibrary::~MemoryLibrary() {
  if (handle_) ::dlclose(handle_);
  if (fd_ >= 0) ::close(fd_);
}

void* MemoryLibrary::symbol(const char* name) const { return ::dlsym(handle_, name); }

}  // namespace temport::internal
