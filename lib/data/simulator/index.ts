/**
 * A small live-streaming and short-video platform with known truth.
 *
 *     const simulation = await simulate(farm, { users: 4000, omega: 1, seed: 3 })
 *     const data = await simulation.dataset()           // what models may see
 *     const p = simulation.truth.columns.pClick.values  // what they should say, row by row
 *
 * `simulate` works in memory; `writeSimulation` writes the same tables as Parquet files, with the schema beside them.
 */

export type { Statistics, StatisticsChart, StatisticsTable } from './measures.js'
export { type KnobsInput, type KnobsOf, type Preset, parseKnobs } from './preset.js'
export { chorusCvr, LATENT } from './presets/chorusCvr.js'
export { behaviours, domains, farm } from './presets/farm.js'
export { correlations, type Objective, objectives, pantheon } from './presets/pantheon.js'
export { type PresetName, presets } from './processes.js'
export { type SimulateOptions, type Simulation, simulate } from './simulate.js'
export type { Table, TableColumn } from './tables.js'
export { type WriteOptions, type Written, writeSimulation } from './writeSimulation.js'
