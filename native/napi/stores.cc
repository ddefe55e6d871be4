// Stores: parameters, optimiser state, other state.
#include <new>

#include "napi/border.h"
#include "napi/calls.h"
#include "napi/promise_job.h"
#include "napi/store_handle.h"

namespace kairos::border {
namespace {

constexpr int64_t kMostSize = int64_t{1} << 53;

// ---- Creation and description ----

Shape ReadShape(const Place& place, Napi::Value value) {
  const Napi::Array list = ReadArray(place, value);
  if (list.Length() > kMaxRank)
    Refuse(ErrorCode::kShape, place.op, place.argument, "at most " + std::to_string(kMaxRank) + " axes",
           std::to_string(list.Length()));
  Shape shape;
  for (uint32_t axis = 0; axis < list.Length(); ++axis)
    shape.dims[shape.rank++] = ReadInteger(place.In(std::to_string(axis)), list.Get(axis), 0, kMostSize);
  return shape;
}

Napi::Value CreateStore(const Napi::CallbackInfo& info) {
  const Place place{"createStore", ""};
  const Napi::Array list = ReadArray(place.In("entries"), info[0]);
  std::vector<StoreEntry> entries;
  std::vector<Napi::Value> data;
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Place at = place.In("entries[" + std::to_string(i) + "]");
    const Napi::Object object = ReadObject(at, list.Get(i));
    StoreEntry entry;
    entry.name = ReadString(at.In("name"), object.Get("name"));
    entry.spec.dtype = ReadDType(at.In("dtype"), object.Get("dtype"));
    entry.spec.shape = ReadShape(at.In("shape"), object.Get("shape"));
    data.push_back(object.Get("data"));
    entries.push_back(std::move(entry));
  }
  std::shared_ptr<const Layout> layout;
  ThrowIfError(MakeLayout(std::move(entries), &layout));

  std::vector<std::shared_ptr<Block>> blocks;
  for (size_t i = 0; i < data.size(); ++i) {
    const StoreEntry& entry = layout->entries[i];
    const auto count = static_cast<size_t>(entry.spec.shape.Count());
    blocks.push_back(data[i].IsUndefined()
                         ? Block::AllocateZeros(entry.Bytes())
                         : CopyTypedArray(place.In(entry.name), data[i], entry.spec.dtype, count));
    if (!blocks.back()) throw std::bad_alloc();
  }
  auto store = std::make_shared<Store>(std::move(layout), std::move(blocks));
  const int64_t bytes = store->owned_bytes();
  return MakeHandle(std::move(store), info.Env(), bytes);
}

Napi::Value StoreEntries(const Napi::CallbackInfo& info) {
  const auto store = ReadHandle<Store>({"storeEntries", "store"}, info[0]);
  Napi::Array entries = Napi::Array::New(info.Env());
  for (const StoreEntry& entry : store->layout()->entries) {
    Napi::Object object = Napi::Object::New(info.Env());
    object.Set("name", entry.name);
    object.Set("dtype", NameOf(entry.spec.dtype));
    object.Set("shape", ToJs(info.Env(), entry.spec.shape));
    entries.Set(entries.Length(), object);
  }
  return entries;
}

size_t FindEntry(const Place& place, const Layout& layout, const std::string& name) {
  const ptrdiff_t entry = layout.Find(name);
  if (entry < 0)
    Refuse(ErrorCode::kUnknownName, place.op, place.argument, "an entry of the store", Quote(name));
  return static_cast<size_t>(entry);
}

// ---- Work on an executor's thread ----

std::shared_ptr<ExecutorCell> ReadExecutor(const char* op, Napi::Value value) {
  auto cell = ReadHandle<ExecutorCell>({op, "executor"}, value);
  cell->RefuseIfClosed(op);
  return cell;
}

class CloneJob final : public PromiseJob {
 public:
  CloneJob(std::shared_ptr<ExecutorCell> cell, Napi::Promise::Deferred deferred, std::shared_ptr<Store> store)
      : PromiseJob(std::move(cell), deferred), store_(std::move(store)) {}
  Status Compute(Executor&) override {
    store_ = store_->Clone();
    return Ok();
  }
  Napi::Value Result(Napi::Env env) override { return MakeHandle(std::move(store_), env); }

 private:
  std::shared_ptr<Store> store_;
};

void CloneStore(const Napi::CallbackInfo& info, Napi::Promise::Deferred deferred) {
  auto cell = ReadExecutor("cloneStore", info[0]);
  auto store = ReadHandle<Store>({"cloneStore", "store"}, info[1]);
  cell->Submit(std::make_unique<CloneJob>(cell, deferred, std::move(store)));
}

class ReadJob final : public PromiseJob {
 public:
  ReadJob(std::shared_ptr<ExecutorCell> cell, Napi::Promise::Deferred deferred, std::shared_ptr<Store> store,
          std::vector<size_t> entries)
      : PromiseJob(std::move(cell), deferred), store_(std::move(store)), entries_(std::move(entries)) {}
  Status Compute(Executor&) override { return store_->Read(entries_, &copies_); }
  Napi::Value Result(Napi::Env env) override {
    Napi::Array arrays = Napi::Array::New(env, entries_.size());
    for (size_t i = 0; i < entries_.size(); ++i) {
      const TensorSpec& spec = store_->layout()->entries[entries_[i]].spec;
      arrays.Set(static_cast<uint32_t>(i),
                 ToTypedArray(env, spec.dtype, static_cast<size_t>(spec.shape.Count()), copies_[i]));
    }
    return arrays;
  }

 private:
  const std::shared_ptr<Store> store_;
  const std::vector<size_t> entries_;
  std::vector<std::shared_ptr<Block>> copies_;
};

void ReadStore(const Napi::CallbackInfo& info, Napi::Promise::Deferred deferred) {
  const Place place{"readStore", "names"};
  auto cell = ReadExecutor("readStore", info[0]);
  auto store = ReadHandle<Store>({"readStore", "store"}, info[1]);
  const Napi::Array names = ReadArray(place, info[2]);
  std::vector<size_t> entries;
  for (uint32_t i = 0; i < names.Length(); ++i)
    entries.push_back(FindEntry(place, *store->layout(), ReadString(place, names.Get(i))));
  cell->Submit(std::make_unique<ReadJob>(cell, deferred, std::move(store), std::move(entries)));
}

class WriteJob final : public PromiseJob {
 public:
  WriteJob(std::shared_ptr<ExecutorCell> cell, Napi::Promise::Deferred deferred, std::shared_ptr<Store> store,
           std::vector<size_t> entries, std::vector<std::shared_ptr<Block>> blocks)
      : PromiseJob(std::move(cell), deferred),
        store_(std::move(store)),
        entries_(std::move(entries)),
        blocks_(std::move(blocks)) {}
  Status Compute(Executor&) override {
    store_->Write(entries_, std::move(blocks_));
    return Ok();
  }
  Napi::Value Result(Napi::Env env) override { return env.Undefined(); }

 private:
  const std::shared_ptr<Store> store_;
  const std::vector<size_t> entries_;
  std::vector<std::shared_ptr<Block>> blocks_;
};

void WriteStore(const Napi::CallbackInfo& info, Napi::Promise::Deferred deferred) {
  const Place place{"writeStore", "values"};
  auto cell = ReadExecutor("writeStore", info[0]);
  auto store = ReadHandle<Store>({"writeStore", "store"}, info[1]);
  const Napi::Object values = ReadObject(place, info[2]);
  std::vector<size_t> entries;
  std::vector<std::shared_ptr<Block>> blocks;  // all of them before the first is swapped in
  for (const std::string& name : OwnKeys(place, values)) {
    entries.push_back(FindEntry(place, *store->layout(), name));
    const TensorSpec& spec = store->layout()->entries[entries.back()].spec;
    blocks.push_back(CopyTypedArray(place.In(name), values.Get(name), spec.dtype,
                                    static_cast<size_t>(spec.shape.Count())));
  }
  cell->Submit(
      std::make_unique<WriteJob>(cell, deferred, std::move(store), std::move(entries), std::move(blocks)));
}

// ---- Parts of an entry, so that large tables are saved and filled piece by piece ----

struct Range {
  std::shared_ptr<Store> store;
  size_t entry;
  int64_t begin, end;

  const TensorSpec& spec() const { return store->layout()->entries[entry].spec; }
  size_t Bytes(int64_t elements) const { return static_cast<size_t>(elements) * SizeOf(spec().dtype); }
};

Range ReadRange(const Place& place, std::shared_ptr<Store> store, Napi::Value name, Napi::Value begin,
                Napi::Value end) {
  Range range{std::move(store), 0, 0, 0};
  const Place at = place.In("name");
  range.entry = FindEntry(at, *range.store->layout(), ReadString(at, name));
  const int64_t count = range.spec().shape.Count();
  range.begin = ReadInteger(place.In("begin"), begin, 0, count);
  range.end = ReadInteger(place.In("end"), end, range.begin, count);
  return range;
}

class ReadRangeJob final : public PromiseJob {
 public:
  ReadRangeJob(std::shared_ptr<ExecutorCell> cell, Napi::Promise::Deferred deferred, Range range)
      : PromiseJob(std::move(cell), deferred), range_(std::move(range)) {}
  Status Compute(Executor&) override {
    return range_.store->ReadRange(range_.entry, range_.Bytes(range_.begin),
                                   range_.Bytes(range_.end - range_.begin), &copy_);
  }
  Napi::Value Result(Napi::Env env) override {
    return ToTypedArray(env, range_.spec().dtype, static_cast<size_t>(range_.end - range_.begin), copy_);
  }

 private:
  const Range range_;
  std::shared_ptr<Block> copy_;
};

void ReadStoreRange(const Napi::CallbackInfo& info, Napi::Promise::Deferred deferred) {
  const Place place{"readStoreRange", ""};
  auto cell = ReadExecutor("readStoreRange", info[0]);
  auto store = ReadHandle<Store>(place.In("store"), info[1]);
  Range range = ReadRange(place, std::move(store), info[2], info[3], info[4]);
  cell->Submit(std::make_unique<ReadRangeJob>(cell, deferred, std::move(range)));
}

class WriteRangeJob final : public PromiseJob {
 public:
  WriteRangeJob(std::shared_ptr<ExecutorCell> cell, Napi::Promise::Deferred deferred, Range range,
                std::shared_ptr<Block> values)
      : PromiseJob(std::move(cell), deferred), range_(std::move(range)), values_(std::move(values)) {}
  Status Compute(Executor&) override {
    return range_.store->WriteRange(range_.entry, range_.Bytes(range_.begin), *values_);
  }
  Napi::Value Result(Napi::Env env) override { return env.Undefined(); }

 private:
  const Range range_;
  const std::shared_ptr<Block> values_;
};

void WriteStoreRange(const Napi::CallbackInfo& info, Napi::Promise::Deferred deferred) {
  const Place place{"writeStoreRange", ""};
  auto cell = ReadExecutor("writeStoreRange", info[0]);
  auto store = ReadHandle<Store>(place.In("store"), info[1]);
  Range range = ReadRange(place, std::move(store), info[2], info[3], info[4]);
  auto values = CopyTypedArray(place.In("values"), info[5], range.spec().dtype,
                               static_cast<size_t>(range.end - range.begin));
  cell->Submit(std::make_unique<WriteRangeJob>(cell, deferred, std::move(range), std::move(values)));
}

class AverageJob final : public PromiseJob {
 public:
  AverageJob(std::shared_ptr<ExecutorCell> cell, Napi::Promise::Deferred deferred,
             std::shared_ptr<Store> target, std::vector<std::shared_ptr<Store>> sources,
             std::vector<double> weights)
      : PromiseJob(std::move(cell), deferred),
        target_(std::move(target)),
        sources_(std::move(sources)),
        weights_(std::move(weights)) {}
  Status Compute(Executor& executor) override {
    return AverageStores(*target_, sources_, weights_, executor.team());
  }
  Napi::Value Result(Napi::Env env) override { return env.Undefined(); }

 private:
  const std::shared_ptr<Store> target_;
  const std::vector<std::shared_ptr<Store>> sources_;
  const std::vector<double> weights_;
};

void RequireSameLayout(const Place& place, const Layout& expected, const Layout& got) {
  bool same = expected.entries.size() == got.entries.size();
  for (size_t i = 0; same && i < got.entries.size(); ++i) {
    const StoreEntry &a = expected.entries[i], &b = got.entries[i];
    same = a.name == b.name && a.spec.dtype == b.spec.dtype && a.spec.shape == b.spec.shape;
  }
  if (!same)
    Refuse(ErrorCode::kShape, place.op, place.argument, "the target's names, dtypes and shapes", "others");
}

void Average(const Napi::CallbackInfo& info, Napi::Promise::Deferred deferred) {
  const Place place{"averageStores", ""};
  auto cell = ReadExecutor("averageStores", info[0]);
  auto target = ReadHandle<Store>(place.In("target"), info[1]);
  const Napi::Array list = ReadArray(place.In("stores"), info[2]),
                    factors = ReadArray(place.In("weights"), info[3]);
  if (list.Length() == 0) Refuse(ErrorCode::kArgument, place.op, "stores", "at least one store", "none");
  if (factors.Length() != list.Length())
    Refuse(ErrorCode::kArgument, place.op, "weights", std::to_string(list.Length()) + " numbers, one a store",
           std::to_string(factors.Length()));
  std::vector<std::shared_ptr<Store>> sources;
  std::vector<double> weights;
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Place at = place.In("stores[" + std::to_string(i) + "]");
    sources.push_back(ReadHandle<Store>(at, list.Get(i)));
    weights.push_back(ReadNumber(place.In("weights[" + std::to_string(i) + "]"), factors.Get(i)));
    RequireSameLayout(at, *target->layout(), *sources.back()->layout());
  }
  cell->Submit(std::make_unique<AverageJob>(cell, deferred, std::move(target), std::move(sources),
                                            std::move(weights)));
}

}  // namespace

void DefineStores(Napi::Env env, Napi::Object exports) {
  exports.Set("createStore", Napi::Function::New(env, Sync<CreateStore>, "createStore"));
  exports.Set("storeEntries", Napi::Function::New(env, Sync<StoreEntries>, "storeEntries"));
  exports.Set("cloneStore", Napi::Function::New(env, Async<CloneStore>, "cloneStore"));
  exports.Set("readStore", Napi::Function::New(env, Async<ReadStore>, "readStore"));
  exports.Set("writeStore", Napi::Function::New(env, Async<WriteStore>, "writeStore"));
  exports.Set("readStoreRange", Napi::Function::New(env, Async<ReadStoreRange>, "readStoreRange"));
  exports.Set("writeStoreRange", Napi::Function::New(env, Async<WriteStoreRange>, "writeStoreRange"));
  exports.Set("averageStores", Napi::Function::New(env, Async<Average>, "averageStores"));
}

}  // namespace kairos::border
