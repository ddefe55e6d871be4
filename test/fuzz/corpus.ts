/** Real program files for fuzzers to start from: a training program, and every op with its gradient. */

import { normal } from '../../lib/graph/module.js'
import type { Tensor } from '../../lib/graph/node.js'
import { GraphRunner } from '../../lib/graph/runner.js'
import {
  adam,
  all,
  assign,
  compile,
  crossEntropy,
  Dropout,
  field,
  multiply,
  parameter,
  scalarInput,
  state,
} from '../../lib/index.js'
import { add, embeddingBag, matmul } from '../../lib/ops/index.js'
import { SmallModel, schema, squaredError } from '../design/support.js'
import { casesOf, gradientOf, graphOf, ops } from '../ops/harness.js'

/** Larger files have the same parts, only more of them, and mutants of them take longer. */
const MOST_BYTES = 24 << 10

class TrainedModel extends SmallModel {
  readonly steps = state([], 'int32')
  readonly dropout = new Dropout(0.25)
  readonly classes = parameter([8, 5], normal(0.3))
  readonly sparse = parameter([5, 8], normal(0.3), { sparse: true })
}

/** Forward, backward and Adam, with everything that a program file can hold. */
export function trainingProgram(): Uint8Array {
  const program = compile(
    new TrainedModel(),
    (model, batch) => {
      assign(model.steps, add(model.steps, 1))
      const error = squaredError(model.score(batch.ids, model.dropout.forward(batch.x)), batch.target)
      const x = add(batch.x, embeddingBag(model.sparse, batch.words, batch.offsets, { mode: 'mean' }) as typeof batch.x)
      const classified = crossEntropy(matmul(x, model.classes), batch.label, { ignoreIndex: -100 })
      return { loss: multiply(add(error, classified), scalarInput('weight', 1)) }
    },
    {
      schema: {
        ...schema,
        label: field('int32', 'batch'),
        words: field('int32', 'words'),
        offsets: field('int32', 'batch+1'),
      },
      updates: [{ loss: 'loss', parameters: all, optimizer: adam({ lr: 0.01 }), clipNorm: 1 }],
    },
  )
  return program.runner.programFile
}

/** Programs of one op and its gradient: a case of fixed sizes and one with a symbol. */
function opPrograms(): Uint8Array[] {
  return ops.flatMap((op) => {
    const cases = casesOf(op, 1)
    const symbolic = cases.find(({ live }) => live !== undefined)
    const chosen = [cases[0], symbolic].flatMap((example, index) =>
      example ? [{ example, symbolic: index === 1 }] : [],
    )
    return chosen.map(({ example, symbolic }) => {
      const graph = graphOf(op, example, symbolic)
      const outputs: Record<string, Tensor> = {}
      graph.outputs.forEach((tensor, index) => {
        outputs[`result${index}`] = tensor
      })
      if (typeof op.vjp !== 'string') {
        gradientOf(graph, example).gradients.forEach((gradient, index) => {
          if (gradient) outputs[`gradient${index}`] = gradient
        })
      }
      return new GraphRunner(outputs).programFile
    })
  })
}

export const corpus = (): Uint8Array[] =>
  [trainingProgram(), ...opPrograms()].filter(({ length }) => length <= MOST_BYTES)
