// Scratch buffers of one op node: as many as tasks run at once, kept for the next call.
#pragma once

#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

namespace temport {

class ScratchPool {
 public:
  // Borrows a 64-byte aligned buffer for its lifetime.
  class Loan {
   public:
    Loan(ScratchPool& pool, size_t floats) : pool_(pool), buffer_(pool.take(floats)) {}
    ~Loan() { pool_.give(std::move(buffer_)); }
    Loan(const Loan&) = delete;
    float* data() const { return buffer_.floats.get(); }

   private:
    friend class ScratchPool;
    ScratchPool& pool_;
    struct Buffer {
      struct Free {
        void operator()(float* p) const { std::free(p); }
      };
      std::unique_ptr<float, Free> floats;
      size_t size = 0;
    } buffer_;
  };

 private:
  using Buffer = Loan::Buffer;

  Buffer take(size_t floats) {
    Buffer buffer;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!free_.empty()) {
        buffer = std::move(free_.back());
        free_.pop_back();
      }
    }
    if (buffer.size < floats) {
      const size_t bytes = (floats * sizeof(float) + 63) / 64 * 64;
      buffer.floats.reset(static_cast<float*>(std::aligned_alloc(64, bytes)));
      if (!buffer.floats) throw std::bad_alloc();
      buffer.size = bytes / sizeof(float);
    }
#ifdef TEMPORT_POISON_SCRATCH
    // Anything that is read before it is written turns the result into NaN, one that is of these bytes only.
    if (buffer.size > 0) std::memset(static_cast<void*>(buffer.floats.get()), 0xff, buffer.size * sizeof(float));
#endif
    return buffer;
  }

  void give(Buffer buffer) {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(buffer));
  }

  std::mutex mutex_;
  std::vector<Buffer> free_;
};

}  // namespace temport
