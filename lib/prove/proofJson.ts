/** `proof.json`: all that the tables show, for scripts. */
import type { Proof } from '../systems/proof.js'
import type { Plan } from './plan.js'
import type { Results } from './results.js'
import { pointsOf } from './tables.js'
import type { LineVerdict } from './verdicts.js'

export interface ProofFacts {
  readonly command: string
  /** ISO 8601. */
  readonly date: string
  readonly environment: Readonly<Record<string, string>>
  readonly seconds: number
}

export async function proofJson(
  proof: Proof,
  plan: Plan,
  results: Results,
  verdicts: readonly LineVerdict[],
  facts: ProofFacts,
): Promise<string> {
  const points = []
  for (const point of pointsOf(plan).filter((name) => results.has(name))) {
    const arms = []
    for (const arm of results.armsAt(point)) {
      const statistics: Record<string, unknown> = {}
      for (const name of results.namesAt(point, arm)) {
        const [values, interval] = [results.values(point, arm, name), await results.mean(point, arm, name)]
        const isCompared =
          arm !== proof.reference &&
          results.namesAt(point, proof.reference).includes(name) &&
          results.values(point, proof.reference, name).length === values.length
        const less = isCompared ? await results.difference(point, arm, proof.reference, name) : undefined
        statistics[name] = { values, ...interval, ...(less ? { [`less ${proof.reference}`]: less } : {}) }
      }
      arms.push({ arm, statistics })
    }
    points.push({ point, arms })
  }
  const { quick, seeds } = plan
  return `${JSON.stringify({ system: proof.system, title: proof.title, quick, seeds, ...facts, verdicts, points }, null, 1)}\n`
}
