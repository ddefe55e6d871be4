/** Kernels that CUDA lacks yet, a line each. One that arrives leaves this list; an empty list is the aim. */
export const lacking: readonly string[] = []
