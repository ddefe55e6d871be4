import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { rowCount } from '../../lib/core/ragged.js'
import { countItems, leaveOneOut } from '../../lib/data/leaveOneOut.js'
import { createEvaluationBatches } from '../../lib/data/prefixBatches.js'
import { readSequences } from '../../lib/data/sequences.js'
import { hitRate, ndcg } from '../../lib/metrics/ranking.js'

const path =
  process.env.KAIROS_LASTFM ?? fileURLToPath(new URL('../../../shared/data/lastfm-seq/LastFM.txt', import.meta.url))
const absent = !existsSync(path)
const skipped = absent ? ' (skipped: set KAIROS_LASTFM to the LastFM sequence file)' : ''

/** Full ranking by count, ties by the smaller id. */
function ranks(counts: Int32Array, batches: ReturnType<typeof createEvaluationBatches>): Int32Array {
  const views = {
    history: new Int32Array(50),
    target: new Int32Array(1),
    exclude: new Int32Array(batches.excludeWidth),
  }
  return Int32Array.from({ length: batches.userCount }, (_, user) => {
    batches.fill(user, views)
    const target = views.target[0] as number
    const excluded = new Set(views.exclude)
    let rank = 0
    for (let item = 0; item < counts.length; item++) {
      if (item === target || excluded.has(item)) continue
      const above = (counts[item] as number) - (counts[target] as number)
      if (above > 0 || (above === 0 && item < target)) rank++
    }
    return rank
  })
}

it.skipIf(absent)(`popularity under leave-one-out agrees with the known figures of LastFM${skipped}`, async () => {
  const sequences = await readSequences(path)
  expect([rowCount(sequences), sequences.values.length, sequences.maxItem]).toEqual([1090, 52551, 3646])
  const split = leaveOneOut(sequences)
  expect([split.evaluated.length, split.trainOnlyCount]).toEqual([1090, 0])
  const batches = createEvaluationBatches(split, { length: 50, batchSize: 1, part: 'test' })
  const figures = (['train', 'all'] as const).map((which) => {
    const found = ranks(countItems(split, which), batches)
    return [hitRate(found, 5), hitRate(found, 10), hitRate(found, 20), ndcg(found, 10)].map((value) => value.toFixed(4))
  })
  expect(figures).toEqual([
    ['0.0248', '0.0385', '0.0606', '0.0180'],
    ['0.0275', '0.0440', '0.0624', '0.0200'],
  ])
})
