import type { SequenceSystem } from '../system.js'
import { sasrecConfig } from './config.js'
import { SasrecModel } from './model.js'

export const sasrec: SequenceSystem<typeof sasrecConfig> = {
  name: 'sasrec',
  kind: 'sequence',
  summary: 'causal self-attention over the history (SASRec), with softmax over all items or sampled negatives',
  config: sasrecConfig,
  trainable: true,
  build: (itemCount, config) => new SasrecModel(itemCount, config),
}

export { type SasrecConfig, sasrecConfig } from './config.js'
export { SasrecModel }
