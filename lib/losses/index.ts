/** Losses: means over what counts, as rank 0, unless `reduction` says otherwise. */
export * from './binaryCrossEntropy.js'
export { crossEntropy, linearCrossEntropyLoss } from './crossEntropy.js'
export * from './infoNCE.js'
export * from './meanSquaredError.js'
export * from './pairwise.js'
export type { LossOptions, ReducedLoss, Reduction } from './reduction.js'
export * from './sampledSoftmax.js'
export * from './uncertaintyWeights.js'
