/** From a proof as declared to the list of runs that it needs. */
import { KairosError } from '../core/errors.js'
import { nearest } from '../core/nearest.js'
import type { Proof, ProofArm, ProofData, ProofExperiment, ProofPoint, ProofSizes, Settings } from '../systems/proof.js'

/** One training: everything that decides its result stands in `settings`. */
export interface PlannedRun {
  readonly experiment: ProofExperiment
  readonly point: ProofPoint
  /** '<experiment> / <point>' */
  readonly pointName: string
  readonly arm: string
  readonly seed: number
  readonly sizes: ProofSizes
  readonly data: Settings
  /** Settings of the arm's system. */
  readonly config: Settings
  /** Path of its files inside the folder of the proof, without an ending. */
  readonly path: string
}

export interface Plan {
  readonly quick: boolean
  readonly seeds: number
  readonly runs: readonly PlannedRun[]
  /** Acceptance lines that were asked for, by name. */
  readonly lines: readonly string[]
}

export interface PlanOptions {
  readonly quick: boolean
  readonly seeds?: number | undefined
  readonly only?: string | undefined
}

/** Arms stand innermost, so that those of one seed share its data. Throws KAIROS_UNKNOWN_NAME when `only` names nothing. */
export function planProof(proof: Proof, { quick, seeds, only }: PlanOptions): Plan {
  const all = proof.experiments.flatMap((experiment) => runsOf(proof, experiment, quick, seeds))
  const lines = proof.acceptance.map(({ name }) => name)
  const counted = seeds ?? proof.sizes[quick ? 'quick' : 'full'].seeds
  if (only === undefined) return { quick, seeds: counted, runs: all, lines }
  const has = (name: string) => name.toLowerCase().includes(only.toLowerCase())
  const asked = proof.acceptance.filter(({ name }) => has(name))
  const needed = new Set(asked.flatMap(({ needs = [] }) => needs))
  const runs = all.filter(({ pointName, arm }) => needed.has(pointName) || has(`${pointName} / ${arm}`))
  if (runs.length === 0 && asked.length === 0) throw nothingNamed(only, [...lines, ...namesOf(all)])
  return { quick, seeds: counted, runs, lines: asked.map(({ name }) => name) }
}

export const pointNameOf = (experiment: ProofExperiment, point: ProofPoint): string =>
  experiment.points ? `${experiment.name} / ${point.name}` : experiment.name

/** Sizes of an experiment's runs. */
export function sizesOf(proof: Proof, experiment: ProofExperiment, quick: boolean, seeds?: number): ProofSizes {
  const mode = quick ? 'quick' : 'full'
  return { ...proof.sizes[mode], ...experiment.sizes?.[mode], ...(seeds === undefined ? {} : { seeds }) }
}

function runsOf(proof: Proof, experiment: ProofExperiment, quick: boolean, seeds?: number): PlannedRun[] {
  const sizes = sizesOf(proof, experiment, quick, seeds)
  const { points = [{ name: experiment.name }], quickPoints, data, config = {} } = experiment
  const arms = (quick ? experiment.quickArms : undefined) ?? experiment.arms ?? Object.keys(proof.arms)
  const chosen = quick && quickPoints ? points.filter(({ name }) => quickPoints.includes(name)) : points
  return chosen.flatMap((point) => {
    const pointName = pointNameOf(experiment, point)
    const source = sourceOf(data, point, quick)
    return Array.from({ length: sizes.seeds }, (_, i) => i + 1).flatMap((seed) =>
      arms.map((arm): PlannedRun => {
        const declared = proof.arms[arm] as ProofArm
        const path = [pointName, `${arm}-${seed}`].map(slug).join('/')
        const settings = { ...config, ...declared.config }
        return { experiment, point, pointName, arm, seed, sizes, data: source, config: settings, path }
      }),
    )
  })
}

/** The data of a point, its knobs the last to count. */
function sourceOf(data: ProofData, point: ProofPoint, quick: boolean): Settings {
  if (data.kind !== 'simulator') return { ...data }
  const { quickKnobs, ...source } = data
  return { ...source, knobs: { ...data.knobs, ...(quick ? quickKnobs : {}), ...point.knobs } }
}

const slug = (text: string): string => text.replaceAll(/[^A-Za-z0-9.-]+/g, '-').replaceAll(/^-|-$/g, '')

const namesOf = (runs: readonly PlannedRun[]): string[] => [
  ...new Set(runs.flatMap(({ experiment, pointName, arm }) => [experiment.name, pointName, arm])),
]

function nothingNamed(only: string, names: readonly string[]): KairosError {
  const near = nearest(only, names)
  return new KairosError('KAIROS_UNKNOWN_NAME', {
    op: 'prove',
    argument: 'only',
    expected: 'part of the name of an acceptance line, an experiment, a point or an arm',
    got: `'${only}'`,
    hint: near ? `Did you mean '${near}'?` : `The names are ${names.join(', ')}`,
  })
}
