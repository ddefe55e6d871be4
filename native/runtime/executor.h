// An executor: one lead thread with a queue of jobs, run in order, and the team that the lead is thread 0 of.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "runtime/executable.h"
#include "runtime/thread_team.h"

namespace kairos {

class Executor;

// Work for the lead thread. Created and destroyed by the thread that owns the executor.
class Job {
 public:
  virtual ~Job() = default;
  // On the lead thread.
  virtual void Work(Executor& executor) = 0;
};

class Executor {
 public:
  // Called on the lead thread with a job that has worked; takes it over.
  using Done = std::function<void(std::unique_ptr<Job>)>;

  // nullptr when the machine refuses that many threads.
  static std::unique_ptr<Executor> Create(Machine machine, Done done);
  // Stops.
  ~Executor();

  const Machine& machine() const { return machine_; }
  ThreadTeam& team() { return team_; }
  const std::atomic<bool>& stopping() const { return stop_; }
  // Held by whoever uses the team: the lead during a job, or a caller that runs on its own thread.
  std::mutex& busy() { return busy_; }

  void Submit(std::unique_ptr<Job> job);
  // Ends a run between its steps, drops what is queued and joins the threads. The owner's thread.
  void Stop();

 private:
  Executor(Machine machine, Done done) : machine_(machine), done_(std::move(done)), team_(machine.threads) {}
  void Lead();

  const Machine machine_;
  const Done done_;
  ThreadTeam team_;
  std::mutex busy_;

  std::mutex mutex_;  // of the queue
  std::condition_variable changed_;
  std::deque<std::unique_ptr<Job>> queue_;
  std::atomic<int> queued_{0};  // its length, to look at without the mutex
  std::atomic<bool> stop_{false};
  std::thread lead_;
};

}  // namespace kairos
