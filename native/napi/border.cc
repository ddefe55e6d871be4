#include "napi/border.h"

#include <cmath>
#include <cstring>
#include <new>

namespace kairos::border {
namespace {

// Any constant that no other addon uses.
constexpr napi_type_tag kHandleTag = {0x4b6169726f733a68, 0x9d1c6f20e57b4a83};

// Below this, copying costs less than a finalizer.
constexpr size_t kLeastExternalBytes = 16 << 10;

napi_typedarray_type ArrayTypeOf(DType dtype) {
  switch (dtype) {
    case DType::kInt32: return napi_int32_array;
    case DType::kBool: return napi_uint8_array;
    default: return napi_float32_array;
  }
}

const char* ArrayNameOf(DType dtype) {
  switch (dtype) {
    case DType::kInt32: return "an Int32Array";
    case DType::kBool: return "a Uint8Array";
    default: return "a Float32Array";
  }
}

std::string ShortNumber(double number) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.15g", number);
  return text;
}

}  // namespace

void Refuse(ErrorCode code, std::string op, std::string argument, std::string expected, std::string got,
            std::string hint) {
  throw Refusal{
      {code, std::move(op), std::move(argument), std::move(expected), std::move(got), std::move(hint)}};
}

void ThrowIfError(const Status& status) {
  if (!status.ok()) throw Refusal{status.error()};
}

Napi::Error ToJs(Napi::Env env, const Error& error) {
  // The class of lib/core/errors makes the sentence; this one is for whoever calls the addon bare.
  Napi::Error js = Napi::Error::New(
      env, error.op + ": " + error.argument + ": expected " + error.expected + ", got " + error.got);
  const std::pair<const char*, const std::string&> fields[] = {
      {"op", error.op},   {"argument", error.argument}, {"expected", error.expected},
      {"got", error.got}, {"hint", error.hint},         {"source", error.source}};
  js.Set("code", Napi::String::New(env, NameOf(error.code)));
  for (const auto& [name, text] : fields)
    if (!text.empty()) js.Set(name, Napi::String::New(env, text));
  return js;
}

Napi::Error CurrentException(Napi::Env env) {
  try {
    throw;
  } catch (const Napi::Error& error) {  // of a getter or proxy that we called
    return error;
  } catch (const Refusal& refusal) {
    return ToJs(env, refusal.error);
  } catch (const std::bad_alloc&) {
    return ToJs(env, {ErrorCode::kOutOfMemory, "native", "memory", "enough", "none", ""});
  } catch (const std::exception& error) {
    return ToJs(env, {ErrorCode::kInternal, "native", "", "no exception", error.what(), ""});
  }
}

std::string Describe(Napi::Value value) {
  switch (value.Type()) {
    case napi_undefined: return "undefined";
    case napi_null: return "null";
    case napi_boolean: return value.As<Napi::Boolean>() ? "true" : "false";
    case napi_number: return ShortNumber(value.As<Napi::Number>().DoubleValue());
    case napi_string: return Quote(value.As<Napi::String>().Utf8Value().substr(0, 80));
    case napi_symbol: return "a symbol";
    case napi_function: return "a function";
    case napi_bigint: return "a bigint";
    case napi_external: return "an external";
    case napi_object: break;
  }
  if (UnwrapHandle(value)) return "a handle of another kind";
  if (value.IsTypedArray()) {
    constexpr const char* kNames[] = {"an Int8Array",    "a Uint8Array",    "a Uint8ClampedArray",
                                      "an Int16Array",   "a Uint16Array",   "an Int32Array",
                                      "a Uint32Array",   "a Float32Array",  "a Float64Array",
                                      "a BigInt64Array", "a BigUint64Array"};
    const size_t type = value.As<Napi::TypedArray>().TypedArrayType();
    return type < std::size(kNames) ? kNames[type] : "a typed array";
  }
  return value.IsArray() ? "an array" : "an object";
}

Napi::Object ReadObject(const Place& place, Napi::Value value) {
  if (value.Type() != napi_object)
    Refuse(ErrorCode::kArgument, place.op, place.argument, "an object", Describe(value));
  return value.As<Napi::Object>();
}

Napi::Array ReadArray(const Place& place, Napi::Value value) {
  if (!value.IsArray()) Refuse(ErrorCode::kArgument, place.op, place.argument, "an array", Describe(value));
  return value.As<Napi::Array>();
}

std::string ReadString(const Place& place, Napi::Value value) {
  if (!value.IsString()) Refuse(ErrorCode::kArgument, place.op, place.argument, "a string", Describe(value));
  return value.As<Napi::String>().Utf8Value();
}

bool ReadOptionalBool(const Place& place, Napi::Value value) {
  if (value.IsUndefined()) return false;
  if (!value.IsBoolean())
    Refuse(ErrorCode::kArgument, place.op, place.argument, "true or false", Describe(value));
  return value.As<Napi::Boolean>();
}

double ReadNumber(const Place& place, Napi::Value value) {
  if (!value.IsNumber()) Refuse(ErrorCode::kArgument, place.op, place.argument, "a number", Describe(value));
  return value.As<Napi::Number>().DoubleValue();
}

// N-API's own integers wrap and truncate without a word, so every number comes as a double first.
int64_t ReadInteger(const Place& place, Napi::Value value, int64_t least, int64_t most) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : std::nan("");
  if (!(number >= static_cast<double>(least) && number <= static_cast<double>(most) &&
        number == std::floor(number)))
    Refuse(ErrorCode::kArgument, place.op, place.argument,
           "an integer from " + std::to_string(least) + " to " + std::to_string(most), Describe(value));
  return static_cast<int64_t>(number);
}

DType ReadDType(const Place& place, Napi::Value value) {
  const std::string name = ReadString(place, value);
  for (DType dtype : {DType::kFloat32, DType::kInt32, DType::kBool})
    if (name == NameOf(dtype)) return dtype;
  Refuse(ErrorCode::kDtype, place.op, place.argument, "float32, int32 or bool", Quote(name));
}

std::vector<std::string> OwnKeys(const Place& place, Napi::Object object) {
  napi_value keys;
  if (napi_get_all_property_names(object.Env(), object, napi_key_own_only,
                                  static_cast<napi_key_filter>(napi_key_enumerable | napi_key_skip_symbols),
                                  napi_key_numbers_to_strings, &keys) != napi_ok)
    throw Napi::Error::New(object.Env());
  const Napi::Array array(object.Env(), keys);
  std::vector<std::string> names;
  for (uint32_t i = 0; i < array.Length(); ++i) names.push_back(ReadString(place, array.Get(i)));
  return names;
}

ArrayBytes ReadTypedArray(const Place& place, Napi::Value value, DType dtype) {
  if (!value.IsTypedArray())
    Refuse(ErrorCode::kArgument, place.op, place.argument, ArrayNameOf(dtype), Describe(value));
  napi_typedarray_type type;
  size_t count = 0;
  void* data = nullptr;
  napi_value buffer;
  if (napi_get_typedarray_info(value.Env(), value, &type, &count, &data, &buffer, nullptr) != napi_ok)
    throw Napi::Error::New(value.Env());
  if (type != ArrayTypeOf(dtype))
    Refuse(ErrorCode::kDtype, place.op, place.argument, ArrayNameOf(dtype), Describe(value));
  bool plain = false, detached = false;
  napi_is_arraybuffer(value.Env(), buffer, &plain);
  if (!plain)
    Refuse(ErrorCode::kArgument, place.op, place.argument, "an array over an ArrayBuffer",
           "one over a SharedArrayBuffer", "Another thread could change it while it is read. Pass a copy.");
  napi_is_detached_arraybuffer(value.Env(), buffer, &detached);
  if (detached)
    Refuse(ErrorCode::kDetached, place.op, place.argument, "an array that is still attached",
           "a detached one", "It was transferred, or given to an earlier run.");
  return {static_cast<const std::byte*>(data), count, count * SizeOf(dtype)};
}

std::shared_ptr<Block> CopyTypedArray(const Place& place, Napi::Value value, DType dtype,
                                      size_t expected_count) {
  const ArrayBytes array = ReadTypedArray(place, value, dtype);
  if (array.count != expected_count)
    Refuse(ErrorCode::kShape, place.op, place.argument, std::to_string(expected_count) + " elements",
           std::to_string(array.count));
  std::shared_ptr<Block> block = Block::Allocate(array.bytes);
  if (!block) throw std::bad_alloc();
  if (array.bytes > 0) std::memcpy(block->data(), array.data, array.bytes);
  if (dtype == DType::kBool)  // kernels rely on 0 and 1
    for (size_t i = 0; i < array.count; ++i) block->data()[i] = std::byte{block->data()[i] != std::byte{0}};
  return block;
}

Napi::Value ToExternalBuffer(Napi::Env env, size_t bytes, const std::shared_ptr<Block>& memory) {
  auto owner = std::make_unique<std::shared_ptr<Block>>(memory);
  const auto finalize = [](napi_env, void*, void* hint) {
    delete static_cast<std::shared_ptr<Block>*>(hint);
  };
  napi_value buffer;
  const napi_status status =
      napi_create_external_arraybuffer(env, memory->data(), bytes, finalize, owner.get(), &buffer);
  if (status == napi_no_external_buffers_allowed) return {};
  owner.release();  // also on failure the finalizer has run or will
  if (status != napi_ok) throw Napi::Error::New(env);
  return {env, buffer};
}

Napi::Value ToTypedArray(Napi::Env env, DType dtype, size_t count, const std::shared_ptr<Block>& memory) {
  const size_t bytes = count * SizeOf(dtype);
  Napi::Value buffer;
  if (bytes >= kLeastExternalBytes) buffer = ToExternalBuffer(env, bytes, memory);
  if (buffer.IsEmpty()) {
    Napi::ArrayBuffer copy = Napi::ArrayBuffer::New(env, bytes);
    if (bytes > 0) std::memcpy(copy.Data(), memory->data(), bytes);
    buffer = copy;
  }
  napi_value array;
  if (napi_create_typedarray(env, ArrayTypeOf(dtype), count, buffer, 0, &array) != napi_ok)
    throw Napi::Error::New(env);
  return {env, array};
}

Napi::Array ToJs(Napi::Env env, const Shape& shape) {
  Napi::Array array = Napi::Array::New(env, shape.rank);
  for (int axis = 0; axis < shape.rank; ++axis)
    array.Set(axis, Napi::Number::New(env, static_cast<double>(shape[axis])));
  return array;
}

void Define(Napi::Object object, const std::string& name, Napi::Value value) {
  object.DefineProperty(
      Napi::PropertyDescriptor::Value(Napi::String::New(object.Env(), name), value, napi_default_jsproperty));
}

void Handle::Report(int64_t bytes) {
  int64_t total;
  if (bytes != reported_) napi_adjust_external_memory(env_, bytes - reported_, &total);
  reported_ = bytes;
}

void Handle::Drop() {
  Report(0);
  object_.reset();
}

Napi::Object WrapHandle(Napi::Env env, HandleKind kind, std::shared_ptr<void> object, int64_t bytes) {
  Napi::Object js = Napi::Object::New(env);
  auto handle = std::make_unique<Handle>(env, kind, std::move(object));
  const auto finalize = [](napi_env, void* data, void*) { delete static_cast<Handle*>(data); };
  if (napi_wrap(env, js, handle.get(), finalize, nullptr, nullptr) != napi_ok) throw Napi::Error::New(env);
  Handle* wrapped = handle.release();
  if (napi_type_tag_object(env, js, &kHandleTag) != napi_ok) throw Napi::Error::New(env);
  wrapped->Report(bytes);
  return js;
}

Handle* UnwrapHandle(Napi::Value value) {
  bool ours = false;
  void* data = nullptr;
  if (value.Type() != napi_object) return nullptr;
  if (napi_check_object_type_tag(value.Env(), value, &kHandleTag, &ours) != napi_ok || !ours) return nullptr;
  return napi_unwrap(value.Env(), value, &data) == napi_ok ? static_cast<Handle*>(data) : nullptr;
}

const std::shared_ptr<void>& RequireHandle(const Place& place, Napi::Value value, HandleKind kind,
                                           const char* name) {
  const Handle* handle = UnwrapHandle(value);
  if (!handle || handle->kind() != kind)
    Refuse(ErrorCode::kArgument, place.op, place.argument, name, Describe(value));
  if (!handle->object())
    Refuse(ErrorCode::kDisposed, place.op, place.argument, "a live object", "one that was disposed");
  return handle->object();
}

}  // namespace kairos::border
