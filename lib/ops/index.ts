/** Every op, one place each. Importing this file fills the registry. */
export * from './activation.js'
export * from './arithmetic.js'
export { type AttentionOptions, attention } from './attention.js'
export { type BandGainsOptions, bandGains } from './bandGains.js'
export { bandMix } from './bandMix.js'
export * from './comparison.js'
export { concat, stack } from './concat.js'
export * from './crossEntropy.js'
export * from './dropout.js'
export type { Binary, Comparison, Unary } from './elementwise.js'
export * from './embedding.js'
export {
  type BagFeature,
  embeddingBag,
  embeddingBags,
  type PoolingMode,
  tableBags,
  tableSlots,
} from './embeddingBag.js'
export * from './frequency.js'
export * from './gram.js'
export * from './layerNorm.js'
export * from './linearCrossEntropy.js'
export { log1mExp, logSigmoid } from './logSpace.js'
export * from './matmul.js'
export {
  assumeShape,
  broadcast,
  broadcastLike,
  broadcastTo,
  full,
  merge,
  reshape,
  size,
  split,
  squeeze,
  transpose,
  unsqueeze,
} from './movement.js'
export * from './normalize.js'
export { type Packing, pack, packPadded, unpack } from './packing.js'
export * from './pareto.js'
export * from './ranking.js'
export * from './reduction.js'
export * from './rmsNorm.js'
export * from './sampling.js'
export { pad, slice } from './slice.js'
export * from './softmax.js'
export { coalesce, type SparseRows, updateRows } from './sparse.js'
export { stopGradient } from './stopGradient.js'
export type { Loose } from './support.js'
export { targetAttention, targetAttentionSums } from './targetAttention.js'
export * from './topK.js'
export * from './transcendental.js'
