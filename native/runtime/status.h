// What native code says when it refuses: one structure, carried unchanged to JavaScript.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "error_codes.inc"

namespace kairos {

// `code` is one of the table in lib/core/errors.ts; the other fields fill that row's sentence.
struct Error {
  ErrorCode code;
  std::string op;        // op, file part or call that refused ("matmul", "program file", "run")
  std::string argument;  // the argument to blame ("b", "feeds.history")
  std::string expected;
  std::string got;
  std::string hint;      // what to do; may be empty
  std::string source{};  // the user's line that built the op, where known
};

// Success, or the first error. Kernels and the runtime never throw and never end their host.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Error error) : error_(std::move(error)) {}  // NOLINT: an Error is a Status
  bool ok() const { return !error_.has_value(); }
  const Error& error() const { return *error_; }

 private:
  std::optional<Error> error_;
};

inline Status Ok() { return {}; }

// How a sentence shows a name that came from outside.
inline std::string Quote(const std::string& name) { return "'" + name + "'"; }

#define KAIROS_RETURN_IF_ERROR(expression)                                      \
  do {                                                                          \
    if (::kairos::Status status_ = (expression); !status_.ok()) return status_; \
  } while (false)

}  // namespace kairos
