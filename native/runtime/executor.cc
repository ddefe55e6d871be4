#include "runtime/executor.h"

#include <system_error>

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
  for (;;) {
    std::unique_ptr<Job> job;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stop_.load() || !queue_.empty(); });
      if (stop_.load()) return;
      job = std::move(queue_.front());
      queue_.pop_front();
    }
    {
      std::lock_guard lock(busy_);
      job->Work(*this);
    }
    done_(std::move(job));
  }
}

}  // namespace kairos
