import { describe, expect, it } from 'vitest'
import { rowCount, rowOf } from '../../lib/core/ragged.js'
import { leaveOneOut } from '../../lib/data/leaveOneOut.js'
import { type PlantedSequences, plantedCell, plantedDefaults, plantedSequences } from '../../lib/data/planted.js'

const groupsOf = (sequences: PlantedSequences, user: number) =>
  [...rowOf(sequences, user)].map((item) => plantedCell(item, plantedDefaults).group)

/** Share of steps at which `rule` names the group of the next item from the groups so far. */
function accuracy(sequences: PlantedSequences, rule: (groups: number[], user: number) => number): number {
  let right = 0
  let all = 0
  for (let user = 0; user < rowCount(sequences); user++) {
    const groups = groupsOf(sequences, user)
    for (let t = 8; t < groups.length; t++) {
      all++
      if (rule(groups.slice(0, t), user) === groups[t]) right++
    }
  }
  return right / all
}

describe('plantedSequences', () => {
  it('gives ragged rows of the sizes asked for', () => {
    const sequences = plantedSequences({ signal: 0.9, seed: 1 })
    expect(rowCount(sequences)).toBe(2000)
    expect(sequences.maxItem).toBe(384)
    for (let user = 0; user < 2000; user++) {
      const { length } = rowOf(sequences, user)
      expect(length >= 24 && length <= 40).toBe(true)
    }
    expect(sequences.values.every((item) => item >= 1 && item <= 384)).toBe(true)
    expect(sequences.values.length).toBe(sequences.offsets.at(-1))
    expect(leaveOneOut(sequences).evaluated.length).toBe(2000)
  })

  it('depends on the seed alone, and the first users not on the others', () => {
    const few = plantedSequences({ signal: 0.5, seed: 3, users: 20 })
    expect(plantedSequences({ signal: 0.5, seed: 3, users: 20 })).toEqual(few)
    expect(plantedSequences({ signal: 0.5, seed: 4, users: 20 }).values).not.toEqual(few.values)
    const more = plantedSequences({ signal: 0.5, seed: 3, users: 40 })
    expect(rowOf(more, 19)).toEqual(rowOf(few, 19))
  })

  it('follows the wave with the chance it says', () => {
    for (const signal of [0, 0.5, 1]) {
      const sequences = plantedSequences({ signal, seed: 2, users: 500 })
      const { period, phase, pair } = sequences.truth
      const found = accuracy(sequences, (groups, user) => {
        const p = period[user] as number
        const high = (groups.length + (phase[user] as number)) % p < p / 2
        return pair[2 * user + (high ? 0 : 1)] as number
      })
      const expected = signal + (1 - signal) / plantedDefaults.groups
      // About 12,000 steps: five standard errors.
      expect(Math.abs(found - expected)).toBeLessThanOrEqual(5 * Math.sqrt(0.25 / 12000))
    }
  })

  it('separates fast from slow users by their spectrum', () => {
    const sequences = plantedSequences({ signal: 1, seed: 5, users: 200 })
    for (let user = 0; user < 200; user++) {
      const groups = groupsOf(sequences, user)
      const changes = groups.filter((group, t) => t > 0 && group !== groups[t - 1]).length
      const fast = sequences.truth.period[user] === 2
      expect(changes).toBe(fast ? groups.length - 1 : changes)
      if (!fast) expect(changes).toBeLessThanOrEqual(Math.ceil(groups.length / 4))
    }
  })

  it('has no order when the signal is off: neither lag says more than chance', () => {
    const sequences = plantedSequences({ signal: 0, seed: 6 })
    for (const lag of [1, 2, 4, 8]) {
      const found = accuracy(sequences, (groups) => groups[groups.length - lag] as number)
      expect(Math.abs(found - 1 / 6)).toBeLessThan(5 * Math.sqrt(5 / 36 / 48000))
    }
  })

  it('has tastes and popularity', () => {
    const sequences = plantedSequences({ signal: 0.9, seed: 7 })
    const ranks = new Float64Array(plantedDefaults.itemsPerCell)
    for (const item of sequences.values) {
      const { rank } = plantedCell(item, plantedDefaults)
      ranks[rank] = (ranks[rank] as number) + 1
    }
    // Zipf: the first is 2^0.8 times as frequent as the second.
    expect((ranks[0] as number) / (ranks[1] as number)).toBeCloseTo(2 ** plantedDefaults.skew, 1)
    const { taste } = sequences.truth
    let favourite = 0
    for (let user = 0; user < 2000; user++) favourite += Math.max(...taste.subarray(user * 8, user * 8 + 8)) / 2000
    expect(favourite).toBeGreaterThan(0.35)
    expect(favourite).toBeLessThan(0.75)
  })

  it.each([
    [{ signal: 1.1 }, 'signal should be a number from 0 to 1 but got 1.1'],
    [{ signal: Number.NaN }, 'signal should be a number from 0 to 1 but got NaN'],
    [{ users: 0 }, 'users should be a positive integer but got 0'],
    [{ groups: 1 }, 'groups should be an integer above 1 but got 1'],
    [{ lengths: [5, 4] as const }, 'lengths should be two ascending positive integers but got 5,4'],
    [{ periods: [1] }, 'periods should be integers above 1 but got 1'],
  ])('refuses %j', (wrong, message) => {
    expect(() => plantedSequences({ signal: 0.5, seed: 0, ...wrong })).toThrow(`plantedSequences: ${message}`)
  })
})
