import { type RankingSystem, taskOutputs } from '../system.js'
import { pantheonConfig } from './config.js'
import { PantheonModel, SCORE } from './model.js'

export const pantheon: RankingSystem<typeof pantheonConfig> = {
  name: 'pantheon',
  kind: 'ranking',
  summary: 'a multi-task ranker, and one learned score to sort by that reads what its towers hold (Pantheon)',
  config: pantheonConfig,
  build: (features, tasks, config) => new PantheonModel(features, tasks, config),
  outputs: (tasks, { objectives }) => [
    ...taskOutputs(tasks),
    { name: SCORE, judgedOn: objectives.length > 0 ? objectives : tasks },
  ],
}

export { type PantheonConfig, pantheonConfig } from './config.js'
export { PantheonModel }
