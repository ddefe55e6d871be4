// Promises that native threads settle, and the life of an executor inside one JavaScript environment.
//
//   JS thread            lead thread of the executor        JS thread
//   read arguments  -->  Compute (no JavaScript)  -->  Result, settle, delete
//
// Jobs and executors are created and destroyed on the JS thread. When the environment ends first, its cleanup
// hook stops the executor, and jobs are deleted without touching JavaScript; their promises never settle.
#pragma once

#include <memory>
#include <vector>

#include "napi/border.h"
#include "runtime/executor.h"

namespace kairos::border {

class PromiseJob;

class ExecutorCell : public std::enable_shared_from_this<ExecutorCell> {
 public:
  static std::shared_ptr<ExecutorCell> Create(Napi::Env env, Machine machine);
  ~ExecutorCell();

  Executor& executor() { return *executor_; }
  // Refuses once the executor is closing.
  void Submit(std::unique_ptr<PromiseJob> job);
  void RefuseIfClosed(const char* op) const;
  void StopAccepting() { closed_ = true; }
  // Joins the threads. Nothing may be in flight.
  void End();

 private:
  explicit ExecutorCell(Napi::Env env) : env_(env) {}
  void Settle(std::unique_ptr<PromiseJob> job, Napi::Env env);
  static void AtEnvironmentEnd(void* cell);

  const Napi::Env env_;
  std::unique_ptr<Executor> executor_;
  napi_threadsafe_function settle_ = nullptr;  // keeps the process alive while jobs are in flight
  int in_flight_ = 0;
  bool closed_ = false;
  bool environment_ended_ = false;
};

// One promise's work: a subclass holds what was read, computes, and makes the result.
class PromiseJob : public Job {
 public:
  PromiseJob(std::shared_ptr<ExecutorCell> cell, Napi::Promise::Deferred deferred)
      : cell_(std::move(cell)), deferred_(deferred) {}
  void Work(Executor& executor) final;

 protected:
  friend class ExecutorCell;
  virtual Status Compute(Executor& executor) = 0;
  virtual Napi::Value Result(Napi::Env env) = 0;
  const std::shared_ptr<ExecutorCell>& cell() const { return cell_; }

 private:
  const std::shared_ptr<ExecutorCell> cell_;
  const Napi::Promise::Deferred deferred_;
  Status status_;
};

template <>
struct HandleTraits<ExecutorCell> {
  static constexpr HandleKind kKind = HandleKind::kExecutor;
  static constexpr const char* kName = "an executor";
};

}  // namespace kairos::border
