/** Every system by name. */
import { frequency } from './frequency/index.js'
import { popularity } from './popularity/index.js'

export const systems = { popularity, frequency } as const

export type SystemName = keyof typeof systems
