// The border's vocabulary: refusals that become JavaScript errors, checked readers of JavaScript values,
// handles. Everything here belongs to the JS thread. There is no arithmetic.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <napi.h>

#include "runtime/arena.h"
#include "runtime/status.h"
#include "runtime/tensor.h"

namespace kairos::border {

// Thrown by readers, caught by `Sync` and `Async`.
struct Refusal {
  Error error;
};

[[noreturn]] void Refuse(ErrorCode code, std::string op, std::string argument, std::string expected,
                         std::string got, std::string hint = "");
void ThrowIfError(const Status& status);

// An Error with `code`, `op`, `argument`, `expected`, `got`, `hint` and `source` properties.
Napi::Error ToJs(Napi::Env env, const Error& error);
// What the exception in flight says, for use in a catch block.
Napi::Error CurrentException(Napi::Env env);

// A function of the addon: refusals become exceptions.
template <Napi::Value (*Function)(const Napi::CallbackInfo&)>
Napi::Value Sync(const Napi::CallbackInfo& info) {
  try {
    return Function(info);
  } catch (...) {
    throw CurrentException(info.Env());
  }
}

// A function that answers a promise: refusals reject it, so that a caller has one place for errors.
template <void (*Function)(const Napi::CallbackInfo&, Napi::Promise::Deferred)>
Napi::Value Async(const Napi::CallbackInfo& info) {
  const auto deferred = Napi::Promise::Deferred::New(info.Env());
  try {
    Function(info, deferred);
  } catch (...) {
    deferred.Reject(CurrentException(info.Env()).Value());
  }
  return deferred.Promise();
}

// ---- Readers: `op` and `argument` name the place in an error ----

struct Place {
  std::string op;
  std::string argument;

  Place In(std::string_view name) const {
    return {op, argument.empty() ? std::string(name) : argument + "." + std::string(name)};
  }
};

std::string Describe(Napi::Value value);  // "null", "a string", "Float32Array"
Napi::Object ReadObject(const Place& place, Napi::Value value);
Napi::Array ReadArray(const Place& place, Napi::Value value);
std::string ReadString(const Place& place, Napi::Value value);
bool ReadOptionalBool(const Place& place, Napi::Value value);
double ReadNumber(const Place& place, Napi::Value value);
int64_t ReadInteger(const Place& place, Napi::Value value, int64_t least, int64_t most);
DType ReadDType(const Place& place, Napi::Value value);
std::vector<std::string> OwnKeys(const Place& place, Napi::Object object);

// A typed array as it is at this moment. Valid until JavaScript runs again.
struct ArrayBytes {
  const std::byte* data;
  size_t count;  // elements
  size_t bytes;
};
ArrayBytes ReadTypedArray(const Place& place, Napi::Value value, DType dtype);
std::shared_ptr<Block> CopyTypedArray(const Place& place, Napi::Value value, DType dtype,
                                      size_t expected_count);

// ---- Results ----

// Hands native memory out: large blocks as external ArrayBuffers, small ones and where external ones are
// forbidden as copies. The ArrayBuffer keeps the block alive.
Napi::Value ToTypedArray(Napi::Env env, DType dtype, size_t count, const std::shared_ptr<Block>& memory);
// nullptr value where external buffers are forbidden.
Napi::Value ToExternalBuffer(Napi::Env env, size_t bytes, const std::shared_ptr<Block>& memory);
Napi::Array ToJs(Napi::Env env, const Shape& shape);
// Defines, so that no name ("__proto__") means anything else.
void Define(Napi::Object object, const std::string& name, Napi::Value value);

// ---- Handles: a tagged object around a shared_ptr ----

enum class HandleKind { kExecutor, kProgram, kExecutable, kStore, kStaging };

template <typename T>
struct HandleTraits;  // kKind, kName

class Handle {
 public:
  Handle(Napi::Env env, HandleKind kind, std::shared_ptr<void> object)
      : env_(env), kind_(kind), object_(std::move(object)) {}
  ~Handle() { Drop(); }
  HandleKind kind() const { return kind_; }
  const std::shared_ptr<void>& object() const { return object_; }
  // Tells V8 how many native bytes hang on this handle.
  void Report(int64_t bytes);
  void Drop();

 private:
  const Napi::Env env_;
  const HandleKind kind_;
  std::shared_ptr<void> object_;
  int64_t reported_ = 0;
};

Napi::Object WrapHandle(Napi::Env env, HandleKind kind, std::shared_ptr<void> object, int64_t bytes);
// nullptr for anything but a handle of ours.
Handle* UnwrapHandle(Napi::Value value);
const std::shared_ptr<void>& RequireHandle(const Place& place, Napi::Value value, HandleKind kind,
                                           const char* name);

template <typename T>
Napi::Object MakeHandle(std::shared_ptr<T> object, Napi::Env env, int64_t bytes = 0) {
  return WrapHandle(env, HandleTraits<T>::kKind, std::move(object), bytes);
}
template <typename T>
std::shared_ptr<T> ReadHandle(const Place& place, Napi::Value value) {
  return std::static_pointer_cast<T>(
      RequireHandle(place, value, HandleTraits<T>::kKind, HandleTraits<T>::kName));
}

}  // namespace kairos::border
