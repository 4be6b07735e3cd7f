// Memory for packed weights, all of a process side by side on huge pages where the system gives them: a model's weights
// are read from end to end in every run, and on small pages a third of that time is spent finding the pages.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>

namespace temport {

#ifdef TEMPORT_SANITIZED
// A sanitizer sees the borders of allocations only, so every weight has one of its own.
class WeightMemory {
 public:
  explicit WeightMemory(size_t floats) : data_(static_cast<float*>(std::aligned_alloc(64, (floats / 16 + 1) * 64))) {
    if (data_ == nullptr) throw std::bad_alloc();
  }
  ~WeightMemory() { std::free(data_); }
  WeightMemory(const WeightMemory&) = delete;

  float* data() const { return data_; }

 private:
  float* const data_;
};
#else
class WeightMemory {
 public:
  explicit WeightMemory(size_t floats) {
    static std::mutex& mutex = *new std::mutex;  // outlives every session
    static std::weak_ptr<Slab>& current = *new std::weak_ptr<Slab>;
    const size_t bytes = (floats * sizeof(float) + kAlignment - 1) / kAlignment * kAlignment;
    const std::lock_guard<std::mutex> lock(mutex);
    slab_ = current.lock();
    if (!slab_ || slab_->size - slab_->used < bytes) current = slab_ = std::make_shared<Slab>(bytes);
    data_ = reinterpret_cast<float*>(slab_->begin + slab_->used);
    size_ = bytes;
    slab_->used += bytes;
  }
  // A neighbour may keep the slab for long: the pages of this weight alone go back at once. Their place is not used again.
  ~WeightMemory() {
#ifdef MADV_DONTNEED
    const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE)), start = reinterpret_cast<size_t>(data_);
    const size_t first = (start + page - 1) / page * page, end = (start + size_) / page * page;
    if (first < end) ::madvise(reinterpret_cast<void*>(first), end - first, MADV_DONTNEED);
#endif
  }
  WeightMemory(const WeightMemory&) = delete;

  float* data() const { return data_; }

 private:
  static constexpr size_t kAlignment = 64, kHugePage = size_t{2} << 20, kSlab = 8 * kHugePage;

  // Given back when the last weight in it is.
  struct Slab {
    explicit Slab(size_t bytes) : size(bytes <= kSlab ? kSlab : (bytes + kHugePage - 1) / kHugePage * kHugePage) {
      mapped = ::mmap(nullptr, size + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (mapped == MAP_FAILED) throw std::bad_alloc();
      const size_t past = reinterpret_cast<size_t>(mapped) % kHugePage;
      begin = static_cast<char*>(mapped) + (past ? kHugePage - past : 0);
#ifdef MADV_HUGEPAGE
      ::madvise(begin, size, MADV_HUGEPAGE);  // a wish: without it the weights are only slower to read
#endif
    }
    ~Slab() { ::munmap(mapped, size + kHugePage); }
    Slab(const Slab&) = delete;

    const size_t size;
    size_t used = 0;
    void* mapped;
    char* begin;
  };

  std::shared_ptr<Slab> slab_;
  float* data_;
  size_t size_;  // bytes
};
#endif

}  // namespace temport
