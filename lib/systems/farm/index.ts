import type { RankingSystem } from '../system.js'
import { taskOutputs } from '../system.js'
import { type FarmConfig, farmConfig } from './config.js'
import { FarmModel } from './model.js'

/** Outputs that say how a row's filters stood. */
const gatesOf = ({ encoder, filter, domains }: FarmConfig): string[] => {
  if (encoder !== 'farm' || (filter !== 'gated' && filter !== 'gate')) return []
  return ['Live', ...(domains === 'both' ? ['Video'] : [])].flatMap((name) => [`alpha${name}`, `beta${name}`])
}

export const farm: RankingSystem<typeof farmConfig> = {
  name: 'farm',
  kind: 'ranking',
  summary: 'live rooms by preferences in two domains: frequency-aware, aligned, then fused by attentions (FARM)',
  config: farmConfig,
  build: (features, tasks, config) => new FarmModel(features, tasks, config),
  requests: ({ perRequest, candidate }) => ({ each: perRequest, own: candidate }),
  outputs: (tasks, config) => [...taskOutputs(tasks), ...gatesOf(config).map((name) => ({ name }))],
}

export { type FarmConfig, farmConfig } from './config.js'
export { FarmModel }
