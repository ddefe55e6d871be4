import { describe, expect, it } from 'vitest'
import { createRandom } from '../../lib/core/random.js'
import {
  Gauc,
  gaucStatistics,
  hypervolume,
  measure,
  paretoFront,
  rowsByUser,
  statisticValue,
  UserBootstrap,
} from '../../lib/metrics/index.js'

describe('gaucStatistics', () => {
  it('is GAUC of each label, ties included, and exact for draws of users', async () => {
    const random = createRandom(1)
    const users = Int32Array.from({ length: 3000 }, () => random.int(70))
    const scores = Float32Array.from(users, () => random.int(9) / 9)
    const often = Uint8Array.from(users, (_, i) => Number(random.uniform() < scores[i]!))
    const rare = Uint8Array.from(users, () => Number(random.uniform() < 0.01))
    const byUser = await rowsByUser(users)
    const found = await gaucStatistics(scores, { often, rare }, byUser)
    for (const [name, labels] of Object.entries({ often, rare })) {
      const { gauc } = await measure(new Gauc(), { scores, labels, groups: users })
      expect(statisticValue(found[name as 'often'])).toBeCloseTo(gauc, 12)
    }
    const pick = <T extends Float32Array | Int32Array | Uint8Array>(values: T) =>
      values.filter((_, row) => users[row]! % 2 === 0) as T
    const { gauc } = await measure(new Gauc(), { scores: pick(scores), labels: pick(often), groups: pick(users) })
    const times = Uint8Array.from({ length: 1024 }, (_, group) => Number(group % 2 === 0))
    expect(statisticValue(found.often, times)).toBeCloseTo(gauc, 12)
    const bootstrap = await UserBootstrap.create(1, { resamples: 200 })
    const { low, high, mean } = await bootstrap.interval((_, drawn) => statisticValue(found.often, drawn))
    expect(low < mean && mean < high && high - low < 0.1).toBe(true)
  })
})

describe('hypervolume', () => {
  it('is the union of boxes', () => {
    expect(hypervolume([[2], [3]], [1])).toBe(2)
    expect(
      hypervolume(
        [
          [2, 1],
          [1, 2],
        ],
        [0, 0],
      ),
    ).toBe(3)
    expect(
      hypervolume(
        [
          [2, 1, 1],
          [1, 2, 1],
          [1, 1, 2],
        ],
        [0, 0, 0],
      ),
    ).toBe(4)
    expect(
      hypervolume(
        [
          [1, 1, 1],
          [2, 2, 2],
        ],
        [0, 0, 0],
      ),
    ).toBe(8)
    expect(hypervolume([[-1, 5, 5]], [0, 0, 0])).toBe(0)
    expect(() => hypervolume([[1, 2]], [0])).toThrow(/points should be of 1 coordinates/)
  })

  it('stands on the front', () => {
    const points = [
      [1, 3],
      [2, 2],
      [3, 1],
      [1, 1],
      [2, 2],
    ]
    expect(paretoFront(points)).toEqual([
      [1, 3],
      [2, 2],
      [3, 1],
      [2, 2],
    ])
  })
})
