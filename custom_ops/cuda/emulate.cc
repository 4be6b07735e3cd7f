// Fibers for emulate.h: one ucontext per thread of a block, switched round-robin at barriers.
#include "emulate.h"

#include <ucontext.h>

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

struct Fiber {
    ucontext_t context;
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
    ucontext_t scheduler;
    size_t present = 0;
    const std::function<void()>* kernel = nullptr;
};
Block* block = nullptr;

void arrive(Barrier& barrier, int members, const std::function<void()>& work) {
    Fiber& me = block->fibers[block->present];
    if (++barrier.arrived == members) {
        work();
        barrier.arrived = 0;
        ++barrier.round;
        return;
    }
    me.waiting = &barrier;
    me.round = barrier.round;
    swapcontext(&me.context, &block->scheduler);
}

void start() {
    (*block->kernel)();
    block->fibers[block->present].done = true;
}

void run_block(Block& b) {
    for (size_t i = 0; i < b.fibers.size(); ++i) {
        Fiber& fiber = b.fibers[i];
        fiber.done = false;
        fiber.waiting = nullptr;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = kStack;
        fiber.context.uc_link = &b.scheduler;
        makecontext(&fiber.context, start, 0);
    }
    for (bool live = true; live;) {
        live = false;
        bool moved = false;
        for (size_t i = 0; i < b.fibers.size(); ++i) {
            Fiber& fiber = b.fibers[i];
            if (fiber.done) continue;
            live = true;
            if (fiber.waiting && fiber.waiting->round == fiber.round) continue;
            fiber.waiting = nullptr;
            b.present = i;
            threadIdx = dim3(unsigned(i), 0, 0);
            swapcontext(&b.scheduler, &fiber.context);
            moved = true;
        }
        if (live && !moved) std::abort();  // some threads left or skipped a barrier that others wait at
    }
}
}  // namespace

void block_wait() { arrive(block->whole, int(block->fibers.size()), [] {}); }
void warp_wait(const std::function<void()>& work) { arrive(block->warps[block->present / kWarp], kWarp, work); }
Lane* lanes() { return &block->slots[block->present / kWarp * kWarp]; }
unsigned lane() { return unsigned(block->present % kWarp); }
char* shared() {
    const uintptr_t start = reinterpret_cast<uintptr_t>(block->shared.data());
    return reinterpret_cast<char*>((start + 15) & ~uintptr_t(15));
}

void run(dim3 grid, int threads, size_t shared_bytes, const std::function<void()>& kernel) {
    Block b;
    b.fibers = std::vector<Fiber>(size_t(threads));
    b.warps.resize(size_t(threads / kWarp));
    b.slots.resize(size_t(threads));
    b.kernel = &kernel;
    block = &b;
    gridDim = grid;
    blockDim = dim3(unsigned(threads), 1, 1);
    for (unsigned z = 0; z < grid.z; ++z)
        for (unsigned y = 0; y < grid.y; ++y)
            for (unsigned x = 0; x < grid.x; ++x) {
                blockIdx = dim3(x, y, z);
                b.shared.assign(shared_bytes + 16, char(0xff));
                run_block(b);
            }
    block = nullptr;
}
}  // namespace emulate
