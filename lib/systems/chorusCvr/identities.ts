/** Part A of the acceptance: what must hold of the losses whatever the data, on the device against float64. */
import { field } from '../../core/schema.js'
import { gradients } from '../../graph/autodiff.js'
import { compile } from '../../graph/compile.js'
import type { Tensor } from '../../graph/node.js'
import { mean, multiply } from '../../ops/index.js'
import type { Executor } from '../../runtime/index.js'
import type { Verdict } from '../proof.js'
import { chorusCvrConfig } from './config.js'
import { alignLosses, funnelLosses, type Rows, type Scalar } from './losses.js'

const config = chorusCvrConfig.parse({})
const schema = {
  click: field('float32', 'batch'),
  conversion: field('float32', 'batch'),
  lo: field('float32', 'batch'),
  lr: field('float32', 'batch'),
  ln: field('float32', 'batch'),
}

type Column = 'click' | 'conversion' | 'lo' | 'lr' | 'ln'
type Table = readonly Readonly<Record<Column, number>>[]
type Batch = Readonly<Record<Column, Rows>>

/** Outputs of a function over a table of logits and labels, on the device. */
async function run(table: Table, build: (batch: Batch) => Record<string, Tensor>, executor: Executor) {
  const program = compile({}, (_, batch) => build(batch as unknown as Batch), { schema, executor })
  const columns = Object.fromEntries(
    Object.keys(schema).map((name) => [name, Float32Array.from(table, (row) => row[name as Column])]),
  )
  return (await program.step(columns as never)) as unknown as Readonly<Record<string, number | Float32Array>>
}

const lossesOf = ({ lo, lr, ln, click, conversion }: Batch) =>
  funnelLosses({ click: lo, conversion: lr, third: ln }, { click, conversion }, 1, config)

// The same in float64 --------------------------------------------------------------------------------------------------

const logSigmoid = (x: number): number => Math.min(x, 0) - Math.log1p(Math.exp(-Math.abs(x)))
const sigmoid = (x: number): number => Math.exp(logSigmoid(x))
/** delta(y, sigmoid(x)) */
const delta = (y: number, x: number): number => -y * logSigmoid(x) - (1 - y) * logSigmoid(-x)
/** 1 - sigmoid(a) sigmoid(b) = (1 + e^a + e^b) / ((1 + e^a)(1 + e^b)): no subtraction. */
const deltaOfProduct = (y: number, a: number, b: number): number => {
  const log1p = Math.log(1 + Math.exp(a) + Math.exp(b)) + logSigmoid(-a) + logSigmoid(-b)
  return -y * (logSigmoid(a) + logSigmoid(b)) - (1 - y) * log1p
}
const weight = (propensity: number): number => Math.min(1 / Math.max(propensity, 0.01), 100)

type Logits = { readonly lo: number; readonly lr: number; readonly ln: number }

/** Each loss of one row, `still` what the stop-gradients see. */
function lossesOfRow({ click: o, conversion: r }: Table[number], { lo, lr, ln }: Logits, still: Logits) {
  const onClick = o * weight(sigmoid(still.lo))
  const offClick = (1 - o) * weight(sigmoid(-still.lo))
  const align = delta(sigmoid(-still.ln), lr) + delta(sigmoid(-still.lr), ln)
  return {
    ctr: delta(o, lo),
    ctcvr: deltaOfProduct(o * r, lo, lr),
    cvr: onClick * delta(r, lr),
    ctuncvr: deltaOfProduct(o * (1 - r), lo, ln),
    uncvr: onClick * delta(1 - r, ln),
    align: (onClick + offClick) * align,
  }
}

const LEVELS = [-30, -15, -4, -1, 0, 1, 4, 15, 30]
const labels = [
  { click: 0, conversion: 0 },
  { click: 1, conversion: 0 },
  { click: 1, conversion: 1 },
]
/** All logits of a grid up to +-30 with all labels. */
const grid: Table = LEVELS.flatMap((lo) =>
  LEVELS.flatMap((lr) => LEVELS.flatMap((ln) => labels.map((label) => ({ ...label, lo, lr, ln })))),
)

const verdict = (pass: boolean, figure: string): Verdict => ({ pass, figure })

// Identities -----------------------------------------------------------------------------------------------------------

/** Greatest relative difference of each loss to float64, logits to +-30. */
export async function lossMatchesReference(executor: Executor): Promise<Verdict> {
  const got = await run(grid, lossesOf, executor)
  let worst = 0
  for (const name of ['ctr', 'ctcvr', 'cvr', 'ctuncvr', 'uncvr', 'align'] as const) {
    const wanted = grid.reduce((total, row) => total + lossesOfRow(row, row, row)[name], 0) / grid.length
    worst = Math.max(worst, Math.abs((got[name] as number) - wanted) / wanted)
  }
  return verdict(worst < 1e-5, `greatest relative error ${worst.toExponential(1)}`)
}

/** The gradient of each row by each logit against central differences in float64. */
export async function gradientMatchesDifferences(executor: Executor): Promise<Verdict> {
  const names = ['lo', 'lr', 'ln'] as const
  const build = (batch: Batch) => {
    const found = gradients(
      lossesOf(batch).loss,
      names.map((name) => batch[name]),
    )
    return Object.fromEntries(names.map((name, i) => [name, found[i] as Tensor]))
  }
  const got = await run(grid, build, executor)
  const STEP = 1e-4
  let worst = 0
  for (const name of names) {
    grid.forEach((row, i) => {
      const at = (by: number) => Object.values(lossesOfRow(row, { ...row, [name]: row[name] + by }, row))
      const [above, below] = [at(STEP), at(-STEP)]
      const slopes = above.map((loss, part) => (loss - (below[part] as number)) / (2 * STEP))
      const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0)
      const found = ((got[name] as Float32Array)[i] as number) * grid.length
      // Relative to what is added up; differences of losses of thousands are good to some 1e-8 themselves.
      worst = Math.max(worst, Math.abs(found - sum(slopes)) / Math.max(sum(slopes.map(Math.abs)), 1e-3))
    })
  }
  return verdict(worst < 1e-5, `greatest relative error ${worst.toExponential(1)}`)
}

/** d L_align / d l_o = 0: the clicks' logit is a constant to it. */
export async function alignStopsAtClick(executor: Executor): Promise<Verdict> {
  let isReached = true
  const build = (batch: Batch) => {
    const { align } = lossesOf(batch)
    const [found] = gradients(align as Scalar, [batch.lo])
    isReached = Boolean(found)
    return { found: (found ?? multiply(batch.lo, 0)) as Tensor }
  }
  const { found } = await run(grid, build, executor)
  const worst = (found as Float32Array).reduce((most, value) => Math.max(most, Math.abs(value)), 0)
  return verdict(worst === 0, isReached ? `greatest |d L_align / d l_o| ${worst}` : 'no path leads there: 0')
}

/** With ohat = 1 everywhere L_cvr^IPW is the clicked rows' cross entropy over |D|. */
export async function certainClicksWeighOne(executor: Executor): Promise<Verdict> {
  const table = grid.map((row) => ({ ...row, lo: 30 }))
  const { cvr } = await run(table, lossesOf, executor)
  const wanted =
    table.reduce((total, { click, conversion, lr }) => total + click * delta(conversion, lr), 0) / table.length
  const error = Math.abs((cvr as number) - wanted) / wanted
  return verdict(error < 1e-6, `relative error ${error.toExponential(1)}`)
}

/** Two cells clicked exactly as often as their propensity says: the weighted clicks give the mean over all rows. */
export async function propensityIsUnbiased(executor: Executor): Promise<Verdict> {
  const cells = [
    { propensity: 0.05, clicked: 1, count: 20, lr: -2, conversion: 1 },
    { propensity: 0.4, clicked: 4, count: 10, lr: 0.5, conversion: 0 },
  ]
  const table = cells.flatMap(({ propensity, clicked, count, lr, conversion }) =>
    Array.from({ length: count }, (_, i) => ({
      click: Number(i < clicked),
      conversion: i < clicked ? conversion : 0,
      lo: Math.log(propensity / (1 - propensity)),
      lr,
      ln: 0,
    })),
  )
  const { cvr } = await run(table, lossesOf, executor)
  const wanted =
    cells.reduce((total, { count, lr, conversion }) => total + count * delta(conversion, lr), 0) / table.length
  const error = Math.abs((cvr as number) - wanted) / wanted
  return verdict(error < 1e-6, `relative error ${error.toExponential(1)}`)
}

/** At rhat = 1 - nhat = t the align loss is least, for every t: no gradient, and more loss on either side. */
export async function alignHasEveryFixedPoint(executor: Executor): Promise<Verdict> {
  const rows = [-12, -6, -2, -0.3, 0, 0.3, 2, 6, 12].flatMap((t) => [0, -0.1, 0.1].map((by) => ({ t, by })))
  const table = rows.map(({ t, by }) => ({ click: 0, conversion: 0, lo: 0, lr: t + by, ln: -t }))
  const build = ({ lr, ln }: Batch) => {
    const losses = alignLosses(lr, ln, config)
    const found = gradients(multiply(mean(losses), rows.length) as Scalar, [lr, ln])
    return { losses, onConversion: found[0] as Tensor, onUnconverted: found[1] as Tensor }
  }
  const { onConversion, onUnconverted } = (await run(table, build, executor)) as Record<string, Float32Array>
  let worst = 0
  let repels = 0
  rows.forEach(({ by }, i) => {
    const gradient = onConversion?.[i] as number
    if (by === 0) worst = Math.max(worst, Math.abs(gradient), Math.abs(onUnconverted?.[i] as number))
    // The slope points away from the fixed point: descent leads back.
    else if (!(gradient * by > 0)) repels++
  })
  return verdict(
    worst < 1e-6 && repels === 0,
    `greatest gradient there ${worst.toExponential(1)}, ${repels} slopes lead away`,
  )
}
