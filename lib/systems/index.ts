/** Every system by name. */
import { chorusCvr } from './chorusCvr/index.js'
import { farm } from './farm/index.js'
import { frequency } from './frequency/index.js'
import { mmoe } from './mmoe/index.js'
import { pantheon } from './pantheon/index.js'
import { popularity } from './popularity/index.js'
import { sasrec } from './sasrec/index.js'
import { sharedBottom } from './sharedBottom/index.js'

export const sequenceSystems = { popularity, sasrec, frequency } as const
export const rankingSystems = { mmoe, 'shared-bottom': sharedBottom, 'chorus-cvr': chorusCvr, farm, pantheon } as const
export const systems = { ...sequenceSystems, ...rankingSystems } as const

export type SequenceSystemName = keyof typeof sequenceSystems
export type RankingSystemName = keyof typeof rankingSystems
export type SystemName = keyof typeof systems
