#include "output.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <random>
#include <sys/stat.h>
#include <unistd.h>

#include "endings.h"

namespace temport::runner {
namespace {

class Descriptor {
 public:
  Descriptor(const std::string& path, int flags, mode_t mode = 0) : fd_(::open(path.c_str(), flags | O_CLOEXEC, mode)) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int close() { return ::close(std::exchange(fd_, -1)); }

 private:
  int fd_;
};

Error unwritable(const std::string& path) { return invalid_argument(path + " cannot be written: " + std::strerror(errno)); }

[[noreturn]] void lose(const std::string& path) {
  throw OutputLost(path + " could not be written completely: " + std::strerror(errno));
}

bool write_all(int fd, const internal::Bytes& bytes) {
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t put = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (put < 0 && errno != EINTR) return false;
    if (put > 0) done += static_cast<size_t>(put);
  }
  return true;
}

// A fresh name in the folder of `path`; 64 random bits, so that it is nobody else's.
std::string beside(const std::string& folder) {
  std::random_device random;
  char name[40];
  std::snprintf(name, sizeof name, "/.temport-%08x%08x.part", random(), random());
  return folder + name;
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "" : path.substr(0, slash);
}

Result<void> replace(const std::string& path, const internal::Bytes& bytes, const struct stat* old) {
  const std::string folder = folder_of(path), work = beside(folder);
  Unfinished unfinished(work);
  Descriptor file(work, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, old ? 0600 : 0666);
  if (file.get() < 0) return unwritable(path);
  if (old && ::fchmod(file.get(), old->st_mode & 07777) != 0) lose(path);
  if (!write_all(file.get(), bytes) || ::fsync(file.get()) != 0 || file.close() != 0) lose(path);
  if (::rename(work.c_str(), path.c_str()) != 0) lose(path);
  unfinished.done();
  const Descriptor directory(folder.empty() ? "/" : folder, O_RDONLY | O_DIRECTORY);
  if (directory.get() >= 0) ::fsync(directory.get());  // some file systems cannot, and the file itself is safe
  return {};
}

}  // namespace

Result<void> write_file(const std::string& path, const internal::Bytes& bytes) {
  struct stat named {}, meant {};
  const bool exists = ::lstat(path.c_str(), &named) == 0;
  if (!exists || S_ISREG(named.st_mode)) return replace(path, bytes, exists ? &named : nullptr);
  if (S_ISLNK(named.st_mode) && (::stat(path.c_str(), &meant) != 0 || S_ISREG(meant.st_mode)))
    return invalid_argument(path + " is a symbolic link; name the file itself");
  Descriptor special(path, O_WRONLY);  // such as /dev/stdout
  if (special.get() < 0) return unwritable(path);
  if (!write_all(special.get(), bytes) || special.close() != 0) lose(path);
  return {};
}

void print(const std::string& text) {
  if (std::puts(text.c_str()) < 0 || std::fflush(stdout) != 0)
    throw OutputLost(std::string("the output did not get out: ") + std::strerror(errno));
}

}  // namespace temport::runner
