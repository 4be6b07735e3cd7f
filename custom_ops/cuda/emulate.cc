// Fibers for emulate.h: one stack per thread of a block, switched at barriers. A context of <ucontext.h> enters it once;
// from then on _setjmp and _longjmp switch, for swapcontext asks the kernel for the signal mask each time.
#undef _FORTIFY_SOURCE  // whose longjmp takes another stack for a mistake
#include "emulate.h"

#include <setjmp.h>
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulate {
namespace {
constexpr size_t kStack = 64 * 1024;
constexpr int kWarp = 32;

struct Barrier {
    int arrived = 0;
    unsigned round = 0;
};

// Launch limits of compute capability 8.6, the smallest of those the kernels are compiled for.
constexpr unsigned kWidestGrid = 65535;
constexpr size_t kMostShared = 99 * 1024;
constexpr int kInvalidValue = 1, kInvalidConfiguration = 9;

struct Copy {
    void* to;
    const void* from;
    bool present;
};

struct Fiber {
    jmp_buf here;
    std::vector<Copy> copies;
    std::unique_ptr<char[]> stack{new char[kStack]};
    bool done = false;
    Barrier* waiting = nullptr;
    unsigned round = 0;
};

struct Block {
    std::vector<Fiber> fibers;
    std::vector<Barrier> warps;
    std::vector<Lane> slots;
    Barrier whole;
    std::vector<char> shared;
    jmp_buf scheduler;
    size_t present = 0;
    bool backwards = false;
    void (*call)(const void*) = nullptr;
    const void* kernel = nullptr;
};
Block* block = nullptr;

// Back to the scheduler, until it goes on with this fiber.
void pause() {
    if (!_setjmp(block->fibers[block->present].here)) _longjmp(block->scheduler, 1);
}

void arrive(Barrier& barrier, int members, void (*work)()) {
    Fiber& me = block->fibers[block->present];
    if (++barrier.arrived == members) {
        work();
        barrier.arrived = 0;
        ++barrier.round;
        return;
    }
    me.waiting = &barrier;
    me.round = barrier.round;
    pause();
}

[[noreturn]] void fail(const char* what) {
    std::fprintf(stderr, "emulated kernel: %s\n", what);
    std::abort();
}

// What a fiber does: the kernel, once for each block.
void live() {
    for (;;) {
        pause();
        block->call(block->kernel);
        Fiber& me = block->fibers[block->present];
        if (!me.copies.empty()) fail("a thread ended before its copies landed");
        me.done = true;
    }
}

// Enter the stack of the present fiber, which comes back at once.
void begin() {
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = block->fibers[block->present].stack.get();
    context.uc_stack.ss_size = kStack;
    context.uc_link = nullptr;
    makecontext(&context, live, 0);
    if (!_setjmp(block->scheduler)) setcontext(&context);
}

bool move(Block& b, size_t i) {
    Fiber& fiber = b.fibers[i];
    if (fiber.done || (fiber.waiting && fiber.waiting->round == fiber.round)) return false;
    fiber.waiting = nullptr;
    b.present = i;
    threadIdx = dim3(unsigned(i), 0, 0);
    if (!_setjmp(b.scheduler)) _longjmp(fiber.here, 1);
    return true;
}

// Let one warp run until none of its lanes can go on.
bool run_warp(Block& b, size_t warp) {
    bool any = false;
    for (bool moved = true; moved;) {
        moved = false;
        for (size_t i = warp * kWarp; i < (warp + 1) * kWarp; ++i) moved |= move(b, i);
        any |= moved;
    }
    return any;
}

void run_block(Block& b) {
    for (Fiber& fiber : b.fibers) fiber.done = false;
    for (bool moved = true; moved;) {
        moved = false;
        for (size_t i = 0; i < b.warps.size(); ++i) moved |= run_warp(b, b.backwards ? b.warps.size() - 1 - i : i);
    }
    for (const Fiber& fiber : b.fibers)
        if (!fiber.done) fail("some threads left or skipped a barrier that others wait at");
}
}  // namespace

void block_wait() { arrive(block->whole, int(block->fibers.size()), [] {}); }
void warp_wait(void (*work)()) { arrive(block->warps[block->present / kWarp], kWarp, work); }
Lane* lanes() { return &block->slots[block->present / kWarp * kWarp]; }
unsigned lane() { return unsigned(block->present % kWarp); }
char* shared() {
    const uintptr_t start = reinterpret_cast<uintptr_t>(block->shared.data());
    return reinterpret_cast<char*>((start + 15) & ~uintptr_t(15));
}

void copy_later(void* to, const void* from, bool present) {
    must_be_aligned(to);
    must_be_aligned(from);
    block->fibers[block->present].copies.push_back({to, from, present});
}
void land_copies() {
    std::vector<Copy>& copies = block->fibers[block->present].copies;
    for (const Copy& copy : copies) {
        if (copy.present) std::memcpy(copy.to, copy.from, 16);
        else std::memset(copy.to, 0, 16);
    }
    copies.clear();
}
void must_be_aligned(const void* address) {
    if (reinterpret_cast<uintptr_t>(address) % 16) fail("an address of a 16-byte access is not a multiple of 16");
}

int run(dim3 grid, int threads, size_t shared_bytes, void (*call)(const void*), const void* kernel) {
    if (shared_bytes > kMostShared) return kInvalidValue;
    if (!grid.x || !grid.y || !grid.z || grid.y > kWidestGrid || grid.z > kWidestGrid) return kInvalidConfiguration;
    Block b;
    b.fibers = std::vector<Fiber>(size_t(threads));
    b.warps.resize(size_t(threads / kWarp));
    b.slots.resize(size_t(threads));
    b.call = call;
    b.kernel = kernel;
    block = &b;
    for (; b.present < b.fibers.size(); ++b.present) begin();
    gridDim = grid;
    blockDim = dim3(unsigned(threads), 1, 1);
    for (unsigned z = 0; z < grid.z; ++z)
        for (unsigned y = 0; y < grid.y; ++y)
            for (unsigned x = 0; x < grid.x; ++x) {
                blockIdx = dim3(x, y, z);
                b.shared.assign(shared_bytes + 16, char(0xff));
                run_block(b);
                b.backwards = !b.backwards;
            }
    block = nullptr;
    return 0;
}
}  // namespace emulate
