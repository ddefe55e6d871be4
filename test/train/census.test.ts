/** Census-Income through its config file; skipped where the data is not. Two epochs, so below what training reaches. */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { readConfigFile } from '../../lib/cli/configFile.js'
import { rankingTrainOptions } from '../../lib/train/rankingOptions.js'
import { trainRanking } from '../../lib/train/trainRanking.js'

const config = fileURLToPath(new URL('census.yaml', import.meta.url))
const data =
  process.env.KAIROS_CENSUS ??
  fileURLToPath(new URL('../../../shared/data/census-income/census-income.test.first79762.csv.gz', import.meta.url))
const absent = !existsSync(data)
const skipped = absent ? ' (skipped: set KAIROS_CENSUS to the Census-Income file)' : ''

describe.skipIf(absent)(`Census-Income${skipped}`, () => {
  it('teaches mmoe both tasks', { timeout: 120_000 }, async () => {
    const options = rankingTrainOptions.parse({ ...(await readConfigFile('train', config)), data, epochs: 2 })
    const lines: string[] = []
    const { metrics } = await trainRanking(options, (line) => lines.push(line))
    expect(lines[0]).toMatch(/57,429 rows for training, 6,381 for validation, 15,952 for test/)
    expect(metrics.income?.auc).toBeGreaterThan(0.93)
    expect(metrics.neverMarried?.auc).toBeGreaterThan(0.99)
  })
})
