/** The losses are composites: values and gradients on the device against float64, empty batches included. */
import { describe, expect, it } from 'vitest'
import { createRandom } from '../../lib/core/random.js'
import { gradients } from '../../lib/graph/autodiff.js'
import { interpret } from '../../lib/graph/interpret.js'
import { input } from '../../lib/graph/leaf.js'
import type { Tensor } from '../../lib/graph/node.js'
import { GraphRunner } from '../../lib/graph/runner.js'
import { binaryCrossEntropy, crossEntropy } from '../../lib/losses/index.js'
import { floats, ints, toTyped, typed } from '../../lib/ops/support.js'
import { errorOf, SYMBOL } from './harness.js'

const logits = input('logits', [SYMBOL, 5])
const labels = input('labels', [SYMBOL], 'int32')
const targets = input('targets', [SYMBOL, 5])

const losses = {
  crossEntropy: crossEntropy(logits, labels),
  binaryCrossEntropy: binaryCrossEntropy(logits, targets),
  'weighted binaryCrossEntropy': binaryCrossEntropy(logits, targets, { weights: targets }),
}

describe.each(Object.entries(losses))('%s', (_, loss) => {
  const outputs = { loss, gradient: gradients(loss, [logits])[0] as Tensor }
  const runner = new GraphRunner(outputs, { poison: true, check: true })
  const random = createRandom(2)

  it.each([7, 0, 1, 9])('of %i rows', async (rows) => {
    const feeds = {
      logits: floats(random, [rows, 5], -30, 30),
      labels: rows > 1 ? typed('int32', [rows], (row) => (row === 1 ? -100 : row % 5)) : ints(random, [rows], 0, 5),
      targets: floats(random, [rows, 5], 0, 1),
    }
    const counts = { [SYMBOL]: rows }
    const expected = interpret(Object.values(outputs), { feeds, counts })
    const given = Object.fromEntries(
      runner.inputs.map(({ name }) => [name, toTyped(feeds[name as keyof typeof feeds])]),
    )
    const run = await runner.run({ feeds: given, counts })
    Object.keys(outputs).forEach((name, index) => {
      expect(errorOf(run.outputs[name]?.data ?? [], expected[index]?.data ?? []), name).toBeLessThan(1e-5)
    })
    if (rows === 0) expect(run.outputs.loss?.data[0]).toBe(0)
  })
})
