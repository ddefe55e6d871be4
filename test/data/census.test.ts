/** Census-Income (KDD) of the UCI repository, read in place; skipped where it is not. Forty columns, two labels. */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import {
  type DataFile,
  datasetBatches,
  encode,
  type Features,
  fitEncoding,
  parseSchema,
  readDataset,
  splitAtRow,
} from '../../lib/data/index.js'
import { epochOf } from './support.js'

const path =
  process.env.KAIROS_CENSUS ??
  fileURLToPath(new URL('../../../shared/data/census-income/census-income.test.first79762.csv.gz', import.meta.url))

const names =
  'age class_worker det_ind_code det_occ_code education wage_per_hour hs_college marital_stat major_ind_code major_occ_code race hisp_origin sex union_member unemp_reason full_or_part_emp capital_gains capital_losses stock_dividends tax_filer_stat region_prev_res state_prev_res det_hh_fam_stat det_hh_summ instance_weight mig_chg_msa mig_chg_reg mig_move_reg mig_same mig_prev_sunbelt num_emp fam_under_18 country_father country_mother country_self citizenship own_or_self vet_question vet_benefits weeks_worked year income_50k'.split(
    ' ',
  )
const numbers = [
  'age',
  'wage_per_hour',
  'capital_gains',
  'capital_losses',
  'stock_dividends',
  'instance_weight',
  'num_emp',
  'weeks_worked',
]
const labels = {
  income: { kind: 'label', column: 'income_50k', positive: '50000+.' },
  neverMarried: { kind: 'label', column: 'marital_stat', positive: 'Never married' },
}
const inputs = names.filter((name) => name !== 'income_50k' && name !== 'marital_stat')
const json = {
  ...Object.fromEntries(
    inputs.map((name) => [
      name,
      numbers.includes(name) ? { kind: 'numeric', standardise: true } : { kind: 'categorical' },
    ]),
  ),
  ...labels,
}

const file: DataFile = { path, names, trim: true, nulls: ['?'] }
const ROWS = 79762
const TRAIN_ROWS = 63810

const rate = (values: ArrayLike<number>) => Array.from(values).reduce((sum, y) => sum + y, 0) / values.length

const absent = !existsSync(path)
const skipped = absent ? ' (skipped: set KAIROS_CENSUS to the Census-Income file)' : ''

describe.skipIf(absent)(`Census-Income${skipped}`, () => {
  it('is read whole, with the rates of its labels, and unknown values only where training has not seen them', async () => {
    const data = await readDataset<Features>(file, parseSchema(json))
    expect(data.rowCount).toBe(ROWS)
    expect(rate(data.values('income'))).toBeCloseTo(0.062, 3)
    expect(rate(data.values('neverMarried'))).toBeCloseTo(0.432, 3)

    const [train, validation] = splitAtRow(data, TRAIN_ROWS)
    expect([train.rowCount, validation.rowCount]).toEqual([TRAIN_ROWS, ROWS - TRAIN_ROWS])
    const encoding = await fitEncoding(train, { minCount: 2 })
    const [seen, unseen] = [await encode(train, encoding), await encode(validation, encoding)]
    expect(seen.size('sex')).toBe(3 + 2)
    const ages = seen.values('age')
    expect(rate(ages)).toBeCloseTo(0, 3)
    expect(rate(ages.map((age) => age * age))).toBeCloseTo(1, 3)
    const report = await unseen.report()
    // Some countries of birth are '?'; nothing is null beside '?'.
    expect(report.country_father?.nulls).toBeGreaterThan(0)
    expect(report.sex).toEqual({ values: ROWS - TRAIN_ROWS, unknown: 0, nulls: 0 })

    const source = await datasetBatches(seen, { batchSize: 4096, seed: 1 })
    const batches = await epochOf(source)
    expect(batches).toHaveLength(source.batchCount)
    expect(rate(batches.flatMap(({ income }) => income as number[]))).toBeCloseTo(rate(seen.values('income')), 9)
  })
})
