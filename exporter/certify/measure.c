/* measure LIBRARY FRAMES RATE CORE: what an engine does and how long it takes, as lines "word number..." on stdout.
 * Times are nanoseconds. Everything that could allocate or ask the system is done before or after the frames. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "allocations.h"
#include "temport_engine.h"

enum { kFrames = 64, kMost = 256 };
static const temport_engine* engine;
static unsigned char* memory;
static void *inputs[kFrames][kMost], *silence[kMost], *outputs[kMost], *states[kMost];
static int64_t sizes[kMost];

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static size_t width(int dtype) { return dtype == 7 ? 8 : dtype == 1 || dtype == 6 ? 4 : dtype == 5 || dtype == 10 ? 2 : 1; }
static size_t elements(const temport_engine_tensor* t) {
  size_t n = 1;
  for (int i = 0; i < t->rank; ++i) n *= (size_t)t->shape[i];
  return n;
}
static void* room(const temport_engine_tensor* t) { return calloc(elements(t) + 1, width(t->dtype)); }
static float uniform(void) { return (float)(random() % 20001 - 10000) * 1.7e-4f; }

static void prepare(void) {
  for (uint32_t i = 0; i < engine->axis_count; ++i) sizes[i] = engine->axis[i].max;
  for (uint32_t i = 0; i < engine->input_count; ++i) {
    silence[i] = room(&engine->input[i]);
    for (int f = 0; f < kFrames; ++f) {
      float* x = inputs[f][i] = room(&engine->input[i]);
      for (size_t k = 0; engine->input[i].dtype == 1 && k < elements(&engine->input[i]); ++k) x[k] = uniform();
    }
  }
  for (uint32_t i = 0; i < engine->output_count; ++i) outputs[i] = room(&engine->output[i]);
  for (uint32_t i = 0; i < engine->state_count; ++i) states[i] = room(&engine->state[i]);
}

static temport_engine_code frame(void** given, uint32_t flags) {
  return engine->run(memory, sizes, (const void* const*)given, outputs, flags);
}

static int ascending(const void* a, const void* b) {
  const uint32_t x = *(const uint32_t*)a, y = *(const uint32_t*)b;
  return (x > y) - (x < y);
}
static void say_times(const char* name, uint32_t* times, long n) {
  static const double at[] = {0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999, 0.9999, 1};
  qsort(times, (size_t)n, sizeof *times, ascending);
  printf("times %s %ld", name, n);
  for (unsigned i = 0; i < sizeof at / sizeof *at; ++i) printf(" %u", times[(long)(at[i] * (double)(n - 1))]);
  printf("\n");
}

static uint32_t* times;
static volatile uint64_t sink;
static void spin(int64_t rounds) {
  uint64_t x = sink;
  for (int64_t i = 0; i < rounds; ++i) x = x * 6364136223846793005ULL + 1442695040888963407ULL;
  sink = x;
}

/* n frames one after the other, and between them as long a piece of plain arithmetic, which only the host can disturb. */
static void steady(long n, int64_t rounds) {
  uint32_t* host = times + n;
  for (long i = 0; i < n; ++i) {
    const int64_t a = now();
    frame(inputs[i % kFrames], 0);
    const int64_t b = now();
    spin(rounds);
    const int64_t c = now();
    times[i] = (uint32_t)(b - a);
    host[i] = (uint32_t)(c - b);
  }
  say_times("steady", times, n);
  say_times("host", host, n);
}

/* A frame at every period, asleep in between. */
static void paced(long n, int64_t period) {
  int64_t next = now();
  for (long i = 0; i < n; ++i) {
    next += period;
    const struct timespec until = {next / 1000000000, next % 1000000000};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    const int64_t a = now();
    frame(inputs[i % kFrames], 0);
    times[i] = (uint32_t)(now() - a);
  }
  say_times("paced", times, n);
}

static void between(const char* name, long n, volatile unsigned char* swept, size_t bytes, void** given) {
  for (long i = 0; i < n; ++i) {
    for (size_t k = 0; k < bytes; k += 64) swept[k] += 1;
    const int64_t a = now();
    frame(given != NULL ? given : inputs[i % kFrames], 0);
    times[i] = (uint32_t)(now() - a);
  }
  say_times(name, times, n);
}

static void beside_a_neighbour(long n, unsigned char* block, size_t bytes) {
  const pid_t child = fork();
  if (child == 0) {
    cpu_set_t all;
    memset(&all, 0xff, sizeof all);
    sched_setaffinity(0, sizeof all, &all);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) memmove(block, block + bytes / 2, bytes / 2);
  }
  between("neighbour", n, NULL, 0, NULL);
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
}

/* In strict mode any system call but read, write and exit kills the process. */
static void strict(long n) {
  int ends[2], status = 0;
  if (pipe(ends)) return;
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_SECCOMP, 1);
    for (long i = 0; i < n; ++i) frame(inputs[i % kFrames], 0);
    if (write(ends[1], "y", 1) < 0) {}
    syscall(SYS_exit, 0);
  }
  waitpid(child, &status, 0);
  close(ends[1]);
  char done = 'n';
  if (read(ends[0], &done, 1) < 0) {}
  printf("strict %d %d\n", done == 'y', WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

static void* one_frame(void* given) {
  if (given != NULL) frame(inputs[0], 0);
  return NULL;
}
static size_t stack_of(void* given) {
  enum { kStack = 4 << 20 };
  unsigned char* stack = mmap(NULL, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memset(stack, 0xa5, kStack);
  pthread_attr_t attributes;
  pthread_t thread;
  pthread_attr_init(&attributes);
  pthread_attr_setstack(&attributes, stack, kStack);
  pthread_create(&thread, &attributes, one_frame, given);
  pthread_join(thread, NULL);
  size_t free_bytes = 0;
  while (free_bytes < kStack && stack[free_bytes] == 0xa5) ++free_bytes;
  munmap(stack, kStack);
  return kStack - free_bytes;
}

/* A frame with NaN or infinity is refused, and neither the state nor an output is another one afterwards. */
static int refuses(float bad) {
  for (uint32_t i = 0; i < engine->input_count; ++i) {
    if (engine->input[i].dtype != 1) continue;
    float* x = inputs[1][i];
    const size_t at = elements(&engine->input[i]) / 2;
    const float kept = x[at];
    unsigned char* before = malloc(engine->state_bytes + 1);
    memcpy(before, memory, engine->state_bytes);
    x[at] = bad;
    const temport_engine_code code = frame(inputs[1], 0);
    x[at] = kept;
    const int same = memcmp(before, memory, engine->state_bytes) == 0;
    free(before);
    if (code != TEMPORT_ENGINE_NONFINITE || !same) return 0;
  }
  return 1;
}

static long subnormals(void) {
  long found = 0;
  engine->store(memory, sizes, states);
  for (uint32_t i = 0; i < engine->state_count; ++i)
    for (size_t k = 0; engine->state[i].dtype == 1 && k < elements(&engine->state[i]); ++k) {
      uint32_t u;
      memcpy(&u, (float*)states[i] + k, 4);
      found += (u & 0x7f800000) == 0 && (u & 0x7fffff) != 0;
    }
  return found;
}

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const long n = atol(argv[2]);
  const int64_t period = (int64_t)(1e9 / atof(argv[3]));
  if (atoi(argv[4]) >= 0) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(atoi(argv[4]), &one);
    if (sched_setaffinity(0, sizeof one, &one)) return fprintf(stderr, "core %s is not there\n", argv[4]), 2;
  }
  int64_t began = now();
  void* library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) return fprintf(stderr, "%s\n", dlerror()), 2;
  const temport_engine* (*table)(void) = (const temport_engine* (*)(void))dlsym(library, "temport_engine_of_this_library");
  if (table == NULL || (engine = table())->abi != TEMPORT_ENGINE_ABI) return fprintf(stderr, "not an engine of this version\n"), 2;
  memory = aligned_alloc(engine->alignment, (engine->memory_bytes + 4095) / 4096 * 4096);
  engine->reset(memory);
  printf("load %ld\n", (long)(now() - began));
  prepare();
  times = mmap(NULL, 2 * (size_t)n * sizeof *times, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (times == MAP_FAILED) return fprintf(stderr, "no memory for the times of %ld frames\n", n), 2;

  for (int i = 0; i < 200; ++i) frame(inputs[i % kFrames], 0);
  began = now();
  for (int i = 0; i < 200; ++i) frame(inputs[i % kFrames], 0);
  const int64_t each = (now() - began) / 200 + 1;
  began = now();
  spin(1000000);
  const int64_t rounds = each * 1000000 / (now() - began + 1) + 1;

  strict(1000);
  const size_t idle = stack_of(NULL), used = stack_of(inputs);
  printf("stack %zu\n", used > idle ? used - idle : 0);
  printf("refuses %d\n", refuses(__builtin_nanf("")) && refuses(__builtin_inff()) && refuses(-__builtin_inff()));
  watched = 1;
  for (int i = 0; i < 1000; ++i) frame(inputs[i % kFrames], 0);
  watched = 0;
  printf("allocations %ld\n", allocations + releases);
  fflush(stdout);

  const long some = n < 20000 ? n : 20000;
  between("loud", some, NULL, 0, NULL);
  between("silent", some, NULL, 0, silence);
  printf("subnormals %ld\n", subnormals());
  size_t bytes = 64 << 20;
  unsigned char* block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  between("cold", n < 20000 ? n / 100 + 1 : 200, block, bytes, NULL);
  const long at_rate = (long)(5e9 / (double)period);
  paced(n < at_rate ? n : at_rate > 0 ? at_rate : 1, period);
  beside_a_neighbour(some, block, bytes);
  steady(n, rounds);
  return 0;
}
