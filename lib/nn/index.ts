export { Dropout } from './dropout.js'
export { Embedding } from './embedding.js'
export { FeedForward, type FeedForwardActivation } from './feedForward.js'
export { FrequencyLayer, type FrequencyLayerOptions } from './frequencyLayer.js'
export { LayerNorm } from './layerNorm.js'
export { Linear } from './linear.js'
export { RMSNorm } from './rmsNorm.js'
export {
  type AttentionView,
  causalVisibility,
  historyRange,
  SelfAttention,
  SelfAttention,
  type SelfAttentionOptions,
  type SelfAttentionOptions,
} from './selfAttention.js'
export { TargetAttention, type TargetAttentionOptions } from './targetAttention.js'
export { TransformerBlock, type TransformerBlockOptions } from './transformerBlock.js'
