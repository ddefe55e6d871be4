// The executor's own threads. Kernels know ParallelFor only.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

namespace kairos {

// A borrowed callable: two words, no allocation.
template <typename Signature>
class FunctionRef;

template <typename Result, typename... Args>
class FunctionRef<Result(Args...)> {
 public:
  template <typename Callable,
            typename = std::enable_if_t<!std::is_same_v<std::remove_cvref_t<Callable>, FunctionRef>>>
  FunctionRef(Callable&& callable)  // NOLINT: made to convert
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(callable)))),
        call_([](void* object, Args... args) -> Result {
          return (*static_cast<std::remove_reference_t<Callable>*>(object))(std::forward<Args>(args)...);
        }) {}
  Result operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

 private:
  void* object_;
  Result (*call_)(void*, Args...);
};

// A fixed team that enters once per program run and meets at its own barriers. The thread that owns the team is
// thread 0. Workers spin for a bounded time inside a run and sleep between runs.
class ThreadTeam {
 public:
  explicit ThreadTeam(int threads);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int size() const;

  // Brackets one program run: wakes the workers, lets them sleep again.
  void Enter();
  void Leave();

  // Calls body(begin, end, thread) on disjoint ranges that cover [0, count), at most one range per thread, and waits.
  // Ranges depend only on count, grain and the team's size, so results are reproducible. Fewer than 2 * grain
  // items run on the calling thread alone. Not reentrant.
  void ParallelFor(int64_t count, int64_t grain,
                   FunctionRef<void(int64_t begin, int64_t end, int thread)> body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kairos
