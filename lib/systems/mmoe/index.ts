import type { RankingSystem } from '../system.js'
import { mmoeConfig } from './config.js'
import { MmoeModel } from './model.js'

export const mmoe: RankingSystem<typeof mmoeConfig> = {
  name: 'mmoe',
  kind: 'ranking',
  summary: 'several tasks over shared experts, mixed by a gate for each task (MMoE)',
  config: mmoeConfig,
  build: (features, tasks, config) => new MmoeModel(features, tasks, config),
}

export { type MmoeConfig, mmoeConfig } from './config.js'
export { MmoeModel }
