#include "napi/promise_job.h"

#include <new>

namespace kairos::border {

std::shared_ptr<ExecutorCell> ExecutorCell::Create(Napi::Env env, Machine machine) {
  std::shared_ptr<ExecutorCell> cell(new ExecutorCell(env));
  const auto settle = [](napi_env live_env, napi_value, void*, void* data) {
    std::unique_ptr<PromiseJob> job(static_cast<PromiseJob*>(data));
    if (!live_env) return;  // the environment is gone: only free
    const std::shared_ptr<ExecutorCell> cell = job->cell();
    cell->Settle(std::move(job), live_env);
  };
  if (napi_create_threadsafe_function(env, nullptr, nullptr, Napi::String::New(env, "kairos"), 0, 1, nullptr,
                                      nullptr, nullptr, settle, &cell->settle_) != napi_ok)
    throw Napi::Error::New(env);
  napi_unref_threadsafe_function(env, cell->settle_);
  // After the function above: hooks run in reverse, so the threads are gone before the function is.
  napi_add_env_cleanup_hook(env, &ExecutorCell::AtEnvironmentEnd, cell.get());

  cell->executor_ = Executor::Create(machine, [settle = cell->settle_](std::unique_ptr<Job> job) {
    // Fails only for want of memory. The job may not die on this thread, so it is then left alone.
    napi_call_threadsafe_function(settle, job.release(), napi_tsfn_nonblocking);
  });
  if (!cell->executor_)
    Refuse(ErrorCode::kUnsupported, "createExecutor", "threads", "a number that the system grants",
           std::to_string(machine.threads));
  return cell;
}

ExecutorCell::~ExecutorCell() {
  if (environment_ended_) return;
  End();
  napi_remove_env_cleanup_hook(env_, &ExecutorCell::AtEnvironmentEnd, this);
  napi_release_threadsafe_function(settle_, napi_tsfn_release);
}

void ExecutorCell::AtEnvironmentEnd(void* data) {
  auto* cell = static_cast<ExecutorCell*>(data);
  const std::shared_ptr<ExecutorCell> alive = cell->weak_from_this().lock();  // queued jobs may own it last
  cell->closed_ = cell->environment_ended_ = true;
  cell->End();
}

void ExecutorCell::End() {
  closed_ = true;
  if (executor_) executor_->Stop();
}

void ExecutorCell::RefuseIfClosed(const char* op) const {
  if (closed_) Refuse(ErrorCode::kClosed, op, "executor", "open", "closed");
}

void ExecutorCell::Submit(std::unique_ptr<PromiseJob> job) {
  RefuseIfClosed("executor");  // a getter among the arguments may have closed it
  if (in_flight_++ == 0) napi_ref_threadsafe_function(env_, settle_);
  executor_->Submit(std::move(job));
}

void ExecutorCell::Settle(std::unique_ptr<PromiseJob> job, Napi::Env env) {
  if (--in_flight_ == 0) napi_unref_threadsafe_function(env, settle_);
  const Napi::HandleScope scope(env);
  try {
    try {
      ThrowIfError(job->status_);
      job->deferred_.Resolve(job->Result(env));
    } catch (...) {
      job->deferred_.Reject(CurrentException(env).Value());
    }
  } catch (const Napi::Error&) {
    // The environment is being terminated: nobody waits any more, and no exception may reach Node from here.
  }
}

void PromiseJob::Work(Executor& executor) {
  try {
    status_ = Compute(executor);
  } catch (const std::bad_alloc&) {
    status_ = Error{ErrorCode::kOutOfMemory, "native", "memory", "enough", "none", ""};
  }
}

}  // namespace kairos::border
