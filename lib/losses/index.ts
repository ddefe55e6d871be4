/** Losses: means over what counts, as rank 0. */
export * from './binaryCrossEntropy.js'
export * from './crossEntropy.js'
