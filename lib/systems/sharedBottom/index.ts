import type { RankingSystem } from '../system.js'
import { sharedBottomConfig } from './config.js'
import { SharedBottomModel } from './model.js'

export const sharedBottom: RankingSystem<typeof sharedBottomConfig> = {
  name: 'shared-bottom',
  kind: 'ranking',
  summary: 'one network under a tower for each task; with one task, the single-task model to compare with',
  config: sharedBottomConfig,
  build: (features, tasks, config) => new SharedBottomModel(features, tasks, config),
}

export { type SharedBottomConfig, sharedBottomConfig } from './config.js'
export { SharedBottomModel }
