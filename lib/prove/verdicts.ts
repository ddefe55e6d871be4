/** Pass, fail or not run, for each acceptance line. */
import { isKairosError } from '../core/errors.js'
import type { Executor } from '../runtime/index.js'
import type { AcceptanceLine, Proof, Verdict } from '../systems/proof.js'
import { type Plan, pointNameOf } from './plan.js'
import { isAbsent } from './proofData.js'
import type { Results } from './results.js'

export interface LineVerdict {
  readonly name: string
  readonly part: AcceptanceLine['part']
  readonly text: string
  readonly verdict: 'pass' | 'FAIL' | 'not run' | 'reported'
  /** The figures that decided, or why it was not run. */
  readonly figure: string
}

export async function judgeLines(
  proof: Proof,
  plan: Plan,
  results: Results,
  executor: Executor,
): Promise<LineVerdict[]> {
  const verdicts: LineVerdict[] = []
  for (const line of proof.acceptance) {
    if (!plan.lines.includes(line.name)) continue
    const { name, part, text } = line
    verdicts.push({ name, part, text, ...(await verdictOf(proof, line, results, executor)) })
  }
  return verdicts
}

async function verdictOf(
  proof: Proof,
  { check, needs = [], absent, notRun }: AcceptanceLine,
  results: Results,
  executor: Executor,
): Promise<Pick<LineVerdict, 'verdict' | 'figure'>> {
  if (absent !== undefined) return { verdict: 'not run', figure: `data absent: ${absent}` }
  if (notRun !== undefined) return { verdict: 'not run', figure: notRun }
  const missing = needs.find((point) => !results.has(point))
  if (missing !== undefined) return { verdict: 'not run', figure: whyMissing(proof, missing, results) }
  if (!check) return { verdict: 'reported', figure: 'see the tables' }
  try {
    return verdictFrom(await check(results, { executor }))
  } catch (error) {
    // Some arms of the point are still to be trained.
    if (!isKairosError(error, 'KAIROS_UNKNOWN_NAME')) throw error
    return { verdict: 'not run', figure: `runs are missing: ${error.details.expected} at ${error.details.got}` }
  }
}

function verdictFrom({ pass, figure }: Verdict): Pick<LineVerdict, 'verdict' | 'figure'> {
  return { verdict: pass === null ? 'reported' : pass ? 'pass' : 'FAIL', figure }
}

function whyMissing(proof: Proof, point: string, { quick }: Results): string {
  const experiment = proof.experiments.find((one) => {
    const points = one.points ?? [{ name: one.name }]
    return points.some((candidate) => pointNameOf(one, candidate) === point)
  })
  if (experiment && isAbsent(experiment.data)) return `data absent: ${point}`
  const isLeftOut = experiment?.quickPoints && !experiment.quickPoints.some((name) => point.endsWith(` / ${name}`))
  return quick && isLeftOut ? `only in the full proof: ${point}` : `not asked for: ${point}`
}
