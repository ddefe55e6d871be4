import { z } from 'zod'
import type { SequenceSystem } from '../system.js'
import { PopularityModel } from './model.js'

const config = z.strictObject({})

export const popularity: SequenceSystem<typeof config> = {
  name: 'popularity',
  kind: 'sequence',
  summary: 'ranks items by how often they occur: the line that a model has to beat',
  config,
  trainable: false,
  build: (itemCount) => new PopularityModel(itemCount),
}

export { PopularityModel }
