// Marks small functions that kernels of the processor and of a GPU share.
#pragma once

#ifdef __CUDACC__
#define KAIROS_ANYWHERE __host__ __device__
#else
#define KAIROS_ANYWHERE
#endif
