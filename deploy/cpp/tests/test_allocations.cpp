// Counts every malloc of the process while a request or, for a step model, a stream runs: after creation, an inference
// allocates nothing.
//
// Without arguments it runs the stand-in runtime and the stand-in engine, where any allocation is ours. With a bundle, a
// runtime's library and the op library (or `none`) it prints one JSON object: allocations per inference made by this library and by the runtime.
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>

#include "temport/temport.hpp"
#include "tiny_engine.h"

extern "C" char __executable_start, etext;  // set by the linker

namespace {

std::atomic<bool> counting{false};
std::atomic<long> ours{0}, theirs{0};

// Whether a code address belongs to this executable (which holds the library) or to a shared object.
bool in_this_program(const void* address) {
  const auto* code = static_cast<const char*>(address);
  return code >= &__executable_start && code < &etext;
}

void* counted(void* memory, const void* caller) {
  if (counting) ++(in_this_program(caller) ? ours : theirs);
  return memory;
}

}  // namespace

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
void __libc_free(void*);
void* malloc(size_t bytes) { return counted(__libc_malloc(bytes), __builtin_return_address(0)); }
void* calloc(size_t count, size_t bytes) { return counted(__libc_calloc(count, bytes), __builtin_return_address(0)); }
void* realloc(void* old, size_t bytes) { return counted(__libc_realloc(old, bytes), __builtin_return_address(0)); }
void* aligned_alloc(size_t to, size_t bytes) { return counted(__libc_memalign(to, bytes), __builtin_return_address(0)); }
int posix_memalign(void** out, size_t to, size_t bytes) {
  *out = counted(__libc_memalign(to, bytes), __builtin_return_address(0));
  return *out ? 0 : ENOMEM;
}
}

// `new` in a shared object resolves here as well; its own return address tells whose it is.
void* operator new(size_t bytes) {
  void* memory = __libc_malloc(bytes);
  if (!memory) std::abort();
  return counted(memory, __builtin_return_address(0));
}
void operator delete(void* memory) noexcept { __libc_free(memory); }
void operator delete(void* memory, size_t) noexcept { __libc_free(memory); }

namespace {

int fail(const temport::Error& error) { return std::fprintf(stderr, "error: %s\n", error.message.c_str()), 2; }

template <class Runnable>
int measure(temport::Result<Runnable> runnable) {
  constexpr int kRuns = 100;
  if (!runnable) return fail(runnable.error());
  // The counter itself is checked first: a hook that sees nothing would prove nothing.
  counting = true;
  std::free(std::malloc(1));
  delete new int;
  counting = false;
  if (ours.exchange(0) < 1) return std::fputs("error: the hook does not count\n", stderr), 2;
  theirs = 0;

  bool done = true;
  for (int i = 0; i < kRuns; ++i) done = done && runnable->run();
  counting = true;
  for (int i = 0; i < kRuns; ++i) done = done && runnable->run();
  counting = false;
  std::printf("{\"runs\": %d, \"ours\": %g, \"runtime\": %g}\n", kRuns, double(ours) / kRuns, double(theirs) / kRuns);
  return done && ours == 0 ? 0 : 1;
}

int measure(const std::string& directory, const std::string& library, const std::string& ops) {
  const auto bundle = temport::Bundle::open(directory);
  if (!bundle) return fail(bundle.error());
  temport::SessionOptions options;
  options.library = library;
  options.ops = ops;
  const auto session = temport::Session::create(*bundle, options);
  if (!session) return fail(session.error());
  return bundle->states().empty() ? measure(session->request()) : measure(session->stream());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 4) return measure(argv[1], argv[2], argv[3]);
  const tiny::Directory window, step(tiny::kStepSignature, tiny::step_vectors());
  for (const auto* directory : {&window, &step})
    for (const char* ops : {"none", STAND_IN_RUNTIME})
      if (const int code = measure(directory->string(), STAND_IN_RUNTIME, ops); code != 0 || theirs != 0)
        return code ? code : 1;
  tiny::add_engine(step);
  return measure(step.string(), "", "") || theirs != 0;
}
