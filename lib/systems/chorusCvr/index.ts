import type { RankingSystem } from '../system.js'
import { type ChorusCvrConfig, chorusCvrConfig } from './config.js'
import { ChorusCvrModel, outputNames } from './model.js'

export const chorusCvr: RankingSystem<typeof chorusCvrConfig> = {
  name: 'chorus-cvr',
  kind: 'ranking',
  summary: 'conversion rates of all exposures, learnt from clicks: ChorusCVR, and by --method what it is compared with',
  config: chorusCvrConfig,
  build: (features, tasks, config, rates) => new ChorusCvrModel(features, tasks, config, rates),
  outputs: ([click = 'click', conversion = 'conversion'], config) => {
    const judged = {
      CTR: { labels: [click] },
      CVR: { labels: [conversion], among: [click] },
      CTCVR: { labels: [click, conversion] },
    }
    return outputNames(config).map((name) => ({ name, ...judged[name as keyof typeof judged] }))
  },
  scalars: ({ method, without, alignWeight, alignRamp }: ChorusCvrConfig) =>
    method === 'chorus' && !without.includes('align')
      ? { alignWeight: (done) => alignWeight * (alignRamp === 0 ? 1 : Math.min(1, done / alignRamp)) }
      : {},
}

export { type ChorusCvrConfig, chorusCvrConfig } from './config.js'
export { ChorusCvrModel }
