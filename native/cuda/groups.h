// Positions of a lookup grouped by id, and the sum of a gradient's rows over each group: what gradients of embeddings
// are made of. Operands are the step's own: view 0 is the table, view 1 the ids.
//
//   ids -> stable radix sort of (id, what it takes from) -> first of each id -> sums, in order of positions
//
// Work and memory follow the number of ids, never the table's rows, and the bits depend on the inputs alone.
#pragma once

#include "cuda/gpu.h"

namespace kairos::gpu {

struct GroupScratch;

class Grouping {
 public:
  struct Form {
    int offsets = -1;  // the operand of the bags that ids lie in; -1: every id has a row of its own
    bool mean = false;
    int64_t padding = -1;  // an id that takes no part
  };

  // Sizes at capacity.
  Grouping(Form form, const Shape& table, int64_t ids, int64_t bags);
  size_t scratch_bytes() const { return bytes_; }

  // Ids outside the table raise the fault, and so do wrong offsets; there are no groups then. Of slots there is room
  // for `room` groups at least, if given.
  void Group(const LaunchContext& launch, const TensorView* room = nullptr) const;
  // The sums of operand `dy`'s rows go to the rows of the group's id in `out`.
  void SumIntoTable(const LaunchContext& launch, int dy, const TensorView* out) const;
  // The sums go to row g of `out` for group g.
  void SumIntoRows(const LaunchContext& launch, int dy, const TensorView* out) const;
  // Ids of the groups, ascending, and how many there are.
  void WriteSlots(const LaunchContext& launch, const TensorView* slots, const TensorView* count) const;

 private:
  GroupScratch ScratchOf(const LaunchContext& launch) const;
  void Sum(const LaunchContext& launch, int dy, const TensorView* out, bool into_table) const;

  Form form_;
  int64_t ids_, bags_, width_, tiles_, most_groups_;
  int passes_, digit_bits_;
  size_t bytes_ = 0;
};

// Zeros in all of a float32 tensor.
void LaunchZero(const LaunchContext& launch, const TensorView* out, int64_t capacity);

}  // namespace kairos::gpu
