/** Presets by name, and the process behind each: what a thread finds by the name that it is told. */
import { funnel } from './funnel.js'
import { histories } from './histories.js'
import { liveRooms } from './liveRooms.js'
import { chorusCvr } from './presets/chorusCvr.js'
import { farm } from './presets/farm.js'
import { pantheon } from './presets/pantheon.js'
import type { Process } from './process.js'

export const presets = { farm, 'chorus-cvr': chorusCvr, pantheon } as const
export type PresetName = keyof typeof presets

export const processes = { farm: histories, 'chorus-cvr': funnel, pantheon: liveRooms } as unknown as Readonly<
  Record<PresetName, Process<Readonly<Record<string, unknown>>>>
>
