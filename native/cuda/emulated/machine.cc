// Threads of a block as coroutines: each runs until it meets the others, then the next one does.
#include "cuda/emulated/machine.h"

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include <ucontext.h>

namespace kairos::gpu::emulated {

thread_local dim3 thread_index, block_index, block_size, grid_size;

namespace {

constexpr size_t kStackBytes = 256 << 10;
constexpr int kMostThreads = 1024;

struct Barrier {
  int members = 0, arrived = 0;
  unsigned generation = 0;
};

struct Fiber {
  std::unique_ptr<std::byte[]> stack;
  ucontext_t start;
  jmp_buf at;
  bool started = false, finished = false;
};

struct Aligned {
  void operator()(std::byte* memory) const { ::operator delete[](memory, std::align_val_t{16}); }
};

struct Block {
  std::vector<Fiber> fibers = std::vector<Fiber>(kMostThreads);
  Barrier all, warps[kMostThreads / 32];
  alignas(16) std::byte slots[kMostThreads / 32][32 * 16];
  std::unique_ptr<std::byte[], Aligned> memory;
  const std::function<void()>* thread = nullptr;
  Fiber* running = nullptr;
  jmp_buf scheduler;
  bool progress = false;
};

Block& Current() {
  thread_local std::unique_ptr<Block> block = std::make_unique<Block>();
  return *block;
}

void Yield() {
  Block& block = Current();
  const dim3 mine = thread_index;
  if (_setjmp(block.running->at) == 0) _longjmp(block.scheduler, 1);
  thread_index = mine;
}

void Meet(Barrier* barrier) {
  const unsigned generation = barrier->generation;
  if (++barrier->arrived == barrier->members) {
    barrier->arrived = 0;
    ++barrier->generation;
    Current().progress = true;
    return;
  }
  while (barrier->generation == generation) Yield();
}

void Begin() {
  Block& block = Current();
  (*block.thread)();
  block.running->finished = true;
  block.progress = true;
  _longjmp(block.scheduler, 1);
}

void Resume(Block& block, Fiber& fiber, int index) {
  block.running = &fiber;
  thread_index = dim3(static_cast<unsigned>(index), 0, 0);
  if (_setjmp(block.scheduler) != 0) return;
  if (fiber.started) _longjmp(fiber.at, 1);
  fiber.started = true;
  setcontext(&fiber.start);
}

void RunBlock(Block& block, int threads) {
  block.all = {threads, 0, 0};
  for (int warp = 0; warp * 32 < threads; ++warp)
    block.warps[warp] = {std::min(32, threads - warp * 32), 0, 0};
  for (int i = 0; i < threads; ++i) {
    Fiber& fiber = block.fibers[i];
    if (!fiber.stack) fiber.stack.reset(new std::byte[kStackBytes]);
    fiber.started = fiber.finished = false;
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = fiber.stack.get();
    fiber.start.uc_stack.ss_size = kStackBytes;
    fiber.start.uc_link = nullptr;
    makecontext(&fiber.start, Begin, 0);
  }
  for (int left = threads; left > 0;) {
    block.progress = false;
    left = 0;
    for (int i = 0; i < threads; ++i)
      if (!block.fibers[i].finished) {
        Resume(block, block.fibers[i], i);
        left += !block.fibers[i].finished;
      }
    if (!block.progress) {
      std::fputs("emulated GPU: some threads of a block wait where the others never come\n", stderr);
      std::abort();
    }
  }
}

}  // namespace

void RunGrid(dim3 grid, int threads, size_t shared, const std::function<void()>& thread) {
  Block& block = Current();
  block.memory.reset(new (std::align_val_t{16}) std::byte[shared]);
  block.thread = &thread;
  grid_size = grid;
  block_size = dim3(static_cast<unsigned>(threads));
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        block_index = dim3(x, y, z);
        std::memset(block.memory.get(), 0xff, shared);  // NaN: nobody has written there
        RunBlock(block, threads);
      }
}

void RunFlat(const std::function<void()>& thread) {
  grid_size = block_size = dim3(1);
  block_index = thread_index = dim3(0, 0, 0);
  thread();
}

void BlockBarrier() { Meet(&Current().all); }
void WarpBarrier() { Meet(&Current().warps[thread_index.x / 32]); }
std::byte* BlockMemory() { return Current().memory.get(); }
std::byte* WarpSlots() { return Current().slots[thread_index.x / 32]; }

}  // namespace kairos::gpu::emulated
