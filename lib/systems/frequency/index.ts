import type { SequenceSystem } from '../system.js'
import { frequencyConfig } from './config.js'
import { FrequencyModel } from './model.js'

export const frequency: SequenceSystem<typeof frequencyConfig> = {
  name: 'frequency',
  kind: 'sequence',
  summary: 'attention beside a low and high frequency filter over the history (BSARec)',
  config: frequencyConfig,
  trainable: true,
  build: (itemCount, config) => new FrequencyModel(itemCount, config),
}

export { type FrequencyConfig, frequencyConfig } from './config.js'
export { FrequencyModel }
