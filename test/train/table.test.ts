import { expect, it } from 'vitest'
import { formatTable } from '../../lib/train/table.js'

it('aligns columns and prints intervals with ±', () => {
  const text = formatTable(
    ['system', 'HR@10', 'users'],
    [
      ['popularity', { mean: 0.0385, low: 0.0275, high: 0.0505 }, 1090],
      ['frequency', 0.08074, 12],
    ],
  )
  expect(text.split('\n')).toEqual([
    'system       HR@10             users',
    'popularity   0.0385 ± 0.0115   1,090',
    'frequency    0.0807            12',
  ])
})

it('takes other digits, short rows and no rows', () => {
  expect(formatTable(['a', 'b'], [['x', 0.5], ['y']], { digits: 1 })).toBe('a   b\nx   0.5\ny')
  expect(formatTable(['a'], [])).toBe('a')
})
