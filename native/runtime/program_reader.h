// A cursor over the bytes of a program file: each read proves that its bytes exist, and names the part that
// lacks them.
#pragma once

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/kernel.h"
#include "runtime/status.h"

namespace kairos {

static_assert(std::endian::native == std::endian::little, "program files are read as they stand");

// After the first refusal every read answers zero or nothing, so callers may check `ok` once per item.
class ProgramReader {
 public:
  explicit ProgramReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  bool ok() const { return status_.ok(); }
  const Error& error() const { return status_.error(); }
  size_t size() const { return bytes_.size(); }
  size_t offset() const { return offset_; }
  size_t remaining() const { return bytes_.size() - offset_; }

  Error Refuse(const std::string& part, std::string expected, std::string got) const {
    return {ErrorCode::kProgramFile, "program file", part + " at byte " + std::to_string(blamed_),
            std::move(expected),     std::move(got), ""};
  }
  void Fail(const std::string& part, std::string expected, std::string got) {
    if (ok()) status_ = Refuse(part, std::move(expected), std::move(got));
  }
  void Accept(const std::string& part, const Status& status) {
    if (!status.ok()) Fail(part, status.error().expected, status.error().got);
  }
  // Later refusals point at this byte.
  void Blame(size_t offset) { blamed_ = offset; }

  std::string_view Bytes(const std::string& part, uint64_t length) {
    if (!ok()) return {};
    blamed_ = offset_;
    if (length > remaining()) {
      Fail(part, std::to_string(length) + " bytes", std::to_string(remaining()) + " left in the file");
      return {};
    }
    const auto* begin = reinterpret_cast<const char*>(bytes_.data()) + offset_;
    offset_ += length;
    return {begin, length};
  }
  uint8_t U8(const std::string& part) { return Scalar<uint8_t>(part); }
  uint32_t U32(const std::string& part) { return Scalar<uint32_t>(part); }
  uint64_t U64(const std::string& part) { return Scalar<uint64_t>(part); }
  int64_t I64(const std::string& part) { return Scalar<int64_t>(part); }
  std::string String(const std::string& part) { return std::string(Bytes(part, U32(part + " length"))); }

  // A count of items of at least `item_bytes` each: bounded by the file before anything is allocated for
  // them.
  uint32_t Count(const std::string& part, size_t item_bytes, uint32_t limit) {
    const uint32_t count = U32(part);
    const uint64_t most = std::min<uint64_t>(limit, remaining() / item_bytes);
    if (!ok() || count <= most) return count * ok();
    Fail(part, "at most " + std::to_string(most) + (most < limit ? " in the bytes left" : ""),
         std::to_string(count));
    return 0;
  }
  uint32_t Index(const std::string& part, size_t count, const char* what) {
    const uint32_t index = U32(part);
    if (!ok() || index < count) return index;
    Fail(part, "one of " + std::to_string(count) + " " + what, "index " + std::to_string(index));
    return 0;
  }
  std::vector<uint32_t> Indices(const std::string& part, uint32_t limit, size_t count, const char* what) {
    std::vector<uint32_t> indices(Count(part + " count", sizeof(uint32_t), limit));
    for (uint32_t& index : indices) index = Index(part, count, what);
    return indices;
  }
  uint8_t Choice(const std::string& part, int choices) {
    const uint8_t choice = U8(part);
    if (!ok() || choice < choices) return choice;
    Fail(part, "0 to " + std::to_string(choices - 1), std::to_string(choice));
    return 0;
  }

  // The type byte is the index in Attributes::Value.
  Attributes::Value Attribute(const std::string& part) {
    switch (Choice(part + " type", 6)) {
      case 0: return Choice(part, 2) == 1;
      case 1: return I64(part);
      case 2: return Scalar<double>(part);
      case 3: return String(part);
      case 4: return List<int64_t>(part);
      default: return List<double>(part);
    }
  }

 private:
  template <typename T>
  T Scalar(const std::string& part) {
    T value{};
    if (const std::string_view bytes = Bytes(part, sizeof(T)); !bytes.empty())
      std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  }
  template <typename T>
  std::vector<T> List(const std::string& part) {
    std::vector<T> list(Count(part + " count", sizeof(T), 1u << 24));
    const std::string_view bytes = Bytes(part, list.size() * sizeof(T));
    if (!bytes.empty()) std::memcpy(list.data(), bytes.data(), bytes.size());
    return list;
  }

  std::span<const std::byte> bytes_;
  size_t offset_ = 0;
  size_t blamed_ = 0;  // where the part of the latest read begins
  Status status_;
};

}  // namespace kairos
