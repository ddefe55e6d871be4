import { fanInUniform } from '../../graph/module.js'
import { Linear } from '../../nn/index.js'
import { add, broadcast, multiply, relu, sigmoid, subtract, sum } from '../../ops/index.js'
import type { Loose } from '../../ops/support.js'

const square = (width: number): Linear<number, number> =>
  new Linear(width, width, fanInUniform(width), fanInUniform(width))

/**
 * What a later step of the funnel takes over of an earlier one: attention over what was handed on, p, and its own, q:
 *
 *     z = sum over u of softmax(<h_1(u), h_2(u)> / sqrt(width)) h_3(u),   u in {p, q}
 *
 * Source: Xi et al. 2021 (AITM), equations 3 to 5, which DDPO's attention between towers follows.
 */
export class Transfer {
  readonly pass: Linear<number, number>
  readonly query: Linear<number, number>
  readonly key: Linear<number, number>
  readonly value: Linear<number, number>

  constructor(private readonly width: number) {
    this.pass = square(width)
    this.query = square(width)
    this.key = square(width)
    this.value = square(width)
  }

  /** earlier, own[batch, width] -> [batch, width]. */
  forward(earlier: Loose, own: Loose): Loose {
    const handed = relu(this.pass.forward(earlier as never)) as Loose
    const [p, q] = [handed, own].map((u) => {
      const products = multiply(this.query.forward(u as never), this.key.forward(u as never)) as Loose
      return { score: sum(products, 1) as Loose, value: this.value.forward(u as never) as Loose }
    }) as [Side, Side]
    // The softmax of two scores.
    const share = sigmoid(multiply(subtract(p.score, q.score) as Loose, 1 / Math.sqrt(this.width)) as Loose)
    const spread = broadcast(share as Loose, 1, [this.width]) as Loose
    return add(q.value, multiply(spread, subtract(p.value, q.value) as Loose) as Loose) as Loose
  }
}

interface Side {
  readonly score: Loose
  readonly value: Loose
}
