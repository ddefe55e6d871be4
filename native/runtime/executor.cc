#include "runtime/executor.h"

#include <system_error>

#include "runtime/spin.h"

namespace kairos {

std::unique_ptr<Executor> Executor::Create(Machine machine, Done done) {
  std::unique_ptr<Executor> executor(new Executor(machine, std::move(done)));
  if (executor->team_.size() != machine.threads) return nullptr;
  try {
    executor->lead_ = std::thread([raw = executor.get()] { raw->Lead(); });
  } catch (const std::system_error&) {
    return nullptr;
  }
  return executor;
}

Executor::~Executor() { Stop(); }

void Executor::Submit(std::unique_ptr<Job> job) {
  {
    std::lock_guard lock(mutex_);
    queue_.push_back(std::move(job));
    queued_.fetch_add(1);
  }
  changed_.notify_one();
}

void Executor::Stop() {
  {
    std::lock_guard lock(mutex_);
    stop_.store(true);
  }
  changed_.notify_one();
  if (lead_.joinable()) lead_.join();
  queue_.clear();  // after the join: jobs die on the owner's thread
}

void Executor::Lead() {
  const bool others = std::thread::hardware_concurrency() > 1;
  for (;;) {
    std::unique_ptr<Job> job;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stop_.load() || !queue_.empty(); });
      if (stop_.load()) return;
      job = std::move(queue_.front());
      queue_.pop_front();
      queued_.fetch_sub(1);
    }
    {
      std::lock_guard lock(busy_);
      job->Work(*this);
    }
    done_(std::move(job));
    // Whoever awaits each step comes with the next one soon, if there is another core to come from.
    if (others) Spin([this] { return queued_.load() > 0 || stop_.load(); });
  }
}

}  // namespace kairos
