#include "file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace temport::internal {
namespace {

constexpr size_t kPiece = 256 << 10;  // stays in the cache between its reading and its hashing

// Opened with O_NONBLOCK so that a FIFO put in a file's place cannot hang the reader.
struct Descriptor {
  Descriptor(const std::string& path, Links links)
      : fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | (links == Links::kRefuse ? O_NOFOLLOW : 0))) {}
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int fd;
};

Result<uint64_t> size_of(const Descriptor& file, const std::string& path, uint64_t limit) {
  struct stat status {};
  if (file.fd < 0 && errno == ELOOP) return refused(path + " is a symbolic link; a bundle holds its files itself");
  if (file.fd < 0 || ::fstat(file.fd, &status) != 0)
    return refused(path + " cannot be opened: " + std::strerror(errno));
  if (!S_ISREG(status.st_mode)) return refused(path + " is not a regular file");
  const auto size = static_cast<uint64_t>(status.st_size);
  if (size > limit)
    return refused(path + " has " + std::to_string(size) + " bytes where at most " + std::to_string(limit) +
                   " are expected");
  return size;
}

// The next `bytes` of the file.
Result<void> read_piece(const Descriptor& file, const std::string& path, uint8_t* to, size_t bytes) {
  while (bytes > 0) {
    const ssize_t got = ::read(file.fd, to, bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return refused(path + " cannot be read: " + std::strerror(errno));
    if (got == 0) return refused(path + " ended while it was being read");
    to += got;
    bytes -= static_cast<size_t>(got);
  }
  return {};
}

}  // namespace

Result<Bytes> read_file(const std::string& path, uint64_t limit, Links links, Sha256* digest) {
  const Descriptor file(path, links);
  const auto size = size_of(file, path, limit);
  if (!size) return size.error();
  Bytes bytes(*size);
  for (size_t done = 0; done < bytes.size(); done += kPiece) {
    const size_t count = std::min(kPiece, bytes.size() - done);
    if (auto read = read_piece(file, path, bytes.data() + done, count); !read) return read.error();
    if (digest) digest->update(bytes.data() + done, count);
  }
  return bytes;
}

Result<uint64_t> hash_file(const std::string& path, uint64_t limit, Links links, Sha256& digest) {
  const Descriptor file(path, links);
  const auto size = size_of(file, path, limit);
  if (!size) return size.error();
  Bytes piece(std::min<uint64_t>(kPiece, *size));
  for (uint64_t done = 0; done < *size; done += kPiece) {
    const size_t count = std::min<uint64_t>(kPiece, *size - done);
    if (auto read = read_piece(file, path, piece.data(), count); !read) return read.error();
    digest.update(piece.data(), count);
  }
  return *size;
}

std::string file_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

}  // namespace temport::internal
