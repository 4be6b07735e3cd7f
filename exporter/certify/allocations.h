/* Every allocation of the process comes by here, and every release; they are counted while `watched` is set. */
#include <errno.h>
#include <stddef.h>

extern void* __libc_malloc(size_t);
extern void* __libc_calloc(size_t, size_t);
extern void* __libc_realloc(void*, size_t);
extern void* __libc_memalign(size_t, size_t);
extern void __libc_free(void*);
static volatile int watched;
static long allocations, releases;
static void count(long* which) {
  if (watched) __atomic_fetch_add(which, 1, __ATOMIC_RELAXED);
}
void* malloc(size_t n) { return count(&allocations), __libc_malloc(n); }
void* calloc(size_t n, size_t m) { return count(&allocations), __libc_calloc(n, m); }
void* realloc(void* p, size_t n) { return count(&allocations), __libc_realloc(p, n); }
void* memalign(size_t a, size_t n) { return count(&allocations), __libc_memalign(a, n); }
void* aligned_alloc(size_t a, size_t n) { return count(&allocations), __libc_memalign(a, n); }
int posix_memalign(void** p, size_t a, size_t n) {
  count(&allocations);
  void* found = __libc_memalign(a, n);
  if (found == NULL) return ENOMEM;
  *p = found;
  return 0;
}
void free(void* p) { count(&releases), __libc_free(p); }
