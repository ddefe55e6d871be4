#include "runtime/thread_team.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "runtime/spin.h"

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

namespace kairos {
namespace {

using Body = FunctionRef<void(int64_t, int64_t, int)>;

// Where a thread waits for a condition over atomics. The writer changes the atomic, then calls Wake; both
// sides use sequentially consistent accesses, so either the waiter sees the change or the writer sees the
// sleeper.
class Gate {
 public:
  template <typename Ready>
  void Sleep(Ready ready) {
    std::unique_lock lock(mutex_);
    sleepers_.fetch_add(1);
    changed_.wait(lock, ready);
    sleepers_.fetch_sub(1);
  }

  void Wake() {
    if (sleepers_.load() == 0) return;
    { std::lock_guard lock(mutex_); }
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<int> sleepers_{0};
};

// Keeps workers off the processor of the thread that leads them. Woken at once with it, they are often put beside it,
// and a step then takes twice as long as the machine allows, until the scheduler spreads them.
class Separation {
 public:
#if defined(__linux__)
  Separation() {
    if (sched_getaffinity(0, sizeof(allowed_), &allowed_) != 0) CPU_ZERO(&allowed_);
  }

  // Of the calling thread. Costs a look at its processor, and a call per worker when that has changed.
  template <typename Workers>
  void From(Workers& workers) {
    const int lead = sched_getcpu();
    if (lead == lead_ || lead < 0 || lead >= CPU_SETSIZE) return;
    lead_ = lead;
    cpu_set_t others = allowed_;
    CPU_CLR(lead, &others);
    if (CPU_COUNT(&others) == 0) return;
    for (auto& worker : workers)
      pthread_setaffinity_np(worker->thread.native_handle(), sizeof(others), &others);
  }

 private:
  cpu_set_t allowed_;
  int lead_ = -1;
#else
  template <typename Workers>
  void From(Workers&) {}
#endif
};

struct Range {
  int64_t begin, end;
};

// The first `count % parts` ranges are one item longer.
Range RangeOf(int64_t count, int parts, int index) {
  const int64_t length = count / parts, longer = count % parts;
  const int64_t begin = index * length + std::min<int64_t>(index, longer);
  return {begin, begin + length + (index < longer ? 1 : 0)};
}

// A worker's mailbox, on a cache line of its own: the lead touches those of the workers it needs.
struct alignas(64) Worker {
  std::atomic<uint64_t> ticket{0};  // raised once per job
  Gate gate;
  std::thread thread;
};

}  // namespace

struct ThreadTeam::State {
  std::vector<std::unique_ptr<Worker>> workers;
  std::atomic<uint64_t> run{0};  // odd inside a run
  std::atomic<bool> stop{false};
  Separation separation;  // touched by the lead only

  // The job: written by the lead before it raises tickets, read by workers after.
  const Body* body = nullptr;
  int64_t count = 0;
  int parts = 0;

  alignas(64) std::atomic<int> pending{0};
  Gate finished;

  void Serve(Worker& self, int thread) {
    uint64_t seen = 0;
    for (;;) {
      const auto called = [&] { return self.ticket.load() != seen || stop.load(); };
      while (!called()) {
        const uint64_t now = run.load();
        const bool inside = now % 2 == 1;
        if (inside && Spin([&] { return called() || run.load() != now; })) continue;
        self.gate.Sleep([&] { return called() || run.load() != now; });
      }
      if (stop.load()) return;
      seen = self.ticket.load();
      const Range range = RangeOf(count, parts, thread);
      (*body)(range.begin, range.end, thread);
      if (pending.fetch_sub(1) == 1) finished.Wake();
    }
  }

  void WakeAll() {
    for (auto& worker : workers) worker->gate.Wake();
  }
};

ThreadTeam::ThreadTeam(int threads) : state_(std::make_unique<State>()) {
  // Filled before the first thread starts: workers never see the vector change. A machine that refuses
  // another thread leaves a smaller team; who needs the exact size compares size().
  for (int thread = 1; thread < threads; ++thread) state_->workers.push_back(std::make_unique<Worker>());
  for (size_t i = 0; i < state_->workers.size(); ++i) {
    Worker& worker = *state_->workers[i];
    try {
      worker.thread = std::thread([this, &worker, i] { state_->Serve(worker, static_cast<int>(i) + 1); });
    } catch (const std::system_error&) {
      state_->workers.resize(i);
      break;
    }
  }
}

ThreadTeam::~ThreadTeam() {
  state_->stop.store(true);
  state_->WakeAll();
  for (auto& worker : state_->workers) worker->thread.join();
}

int ThreadTeam::size() const { return static_cast<int>(state_->workers.size()) + 1; }

void ThreadTeam::Enter() {
  if (state_->workers.empty()) return;
  state_->run.fetch_add(1);
  state_->WakeAll();
}

void ThreadTeam::Leave() {
  if (!state_->workers.empty()) state_->run.fetch_add(1);
}

void ThreadTeam::ParallelFor(int64_t count, int64_t grain, Body body) {
  if (count <= 0) return;
  const int parts = static_cast<int>(std::min<int64_t>(size(), count / std::max<int64_t>(grain, 1)));
  if (parts < 2) return body(0, count, 0);

  State& state = *state_;
  // For every job, since a lead that has just been woken is often moved once more.
  state.separation.From(state.workers);
  state.body = &body;
  state.count = count;
  state.parts = parts;
  state.pending.store(parts - 1);
  for (int i = 0; i < parts - 1; ++i) {
    state.workers[i]->ticket.fetch_add(1);
    state.workers[i]->gate.Wake();
  }
  const Range range = RangeOf(count, parts, 0);
  body(range.begin, range.end, 0);
  const auto done = [&] { return state.pending.load() == 0; };
  if (!done() && !Spin(done)) state.finished.Sleep(done);
}

}  // namespace kairos
