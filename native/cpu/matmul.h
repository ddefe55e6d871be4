// The matrix product's optional second engine: oneDNN, in a module of its own, opened when first asked for.
#pragma once

#include <cstdint>
#include <string>

namespace kairos {

// Row-major c = op(a) op(b) on the calling thread; 0 is success.
using SgemmFunction = int (*)(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                              const float* a, int64_t a_step, const float* b, int64_t b_step, float* c,
                              int64_t c_step);

// nullptr where the module was not built or does not load.
SgemmFunction OneDnnSgemm();

// Whether oneDNN can serve, or why not.
bool OneDnnAvailable(std::string* reason);

}  // namespace kairos
