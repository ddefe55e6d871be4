export type { ActivationName } from './activation.js'
export { AttentionPooling } from './attentionPooling.js'
export { CrossAttention, type CrossAttentionOptions } from './crossAttention.js'
export { Dropout } from './dropout.js'
export { Embedding } from './embedding.js'
export {
  FeatureEmbeddings,
  type FeatureEmbeddingsOptions,
  type IdFeature,
  type NumberFeature,
  type SequenceFeature,
} from './featureEmbeddings.js'
export {
  FeatureGate,
  type FeatureGateOptions,
  SqueezeExcitation,
  type SqueezeExcitationOptions,
} from './featureGate.js'
export { FeedForward, type FeedForwardActivation } from './feedForward.js'
export { FrequencyLayer, type FrequencyLayerOptions } from './frequencyLayer.js'
export { LayerNorm } from './layerNorm.js'
export { Linear } from './linear.js'
export { Mlp, type MlpOptions } from './mlp.js'
export { MMoE, type MMoEOptions } from './mmoe.js'
export { type PackedSequences, packedRows, paddedRows, placesOf } from './packedSequences.js'
export { CGC, type CGCOptions, PLE, type PLEOptions } from './ple.js'
export { Projection } from './projection.js'
export { RMSNorm } from './rmsNorm.js'
export {
  type AttentionView,
  historyRange,
  type PackedRows,
  SelfAttention,
  type SelfAttentionOptions,
} from './selfAttention.js'
export {
  Gates,
  mixExperts,
  StackedLinear,
  type StackedLinearOptions,
  StackedMlp,
  stackedNames,
} from './stacked.js'
export { type RaggedHistory, TargetAttention, type TargetAttentionOptions } from './targetAttention.js'
export { TransformerBlock, type TransformerBlockOptions } from './transformerBlock.js'
