/** How results are kept: the shape of a case, what a partial run exchanges, and the page that people read. */
import { describe, expect, it } from 'vitest'
import { drawPlot, fileName } from '../../bench/plots.js'
import { formatCase, formatReport, mergeCases, type Report, reportCase } from '../../bench/report.js'
import { atMost, type BenchResult, fasterThan } from '../../bench/support.js'

const result = (name: string, more: Partial<BenchResult> = {}): BenchResult => ({
  name,
  shape: '[2, 3]',
  threads: 2,
  ours: 2,
  spread: [1.5, 2.5],
  ...more,
})
const machine = { name: 'Some CPU', cores: 2, variants: ['baseline', 'avx2', 'avx512'] }
const order = ['gram', 'matmul', 'softmax']
const one = (bench: string, variant = 'avx512', name = bench) => reportCase(bench, variant, result(name))
const namesOf = ({ cases }: Report) => cases.map(({ bench, variant, name }) => `${bench} ${variant} ${name}`)

describe('a case', () => {
  it('has every field, null where there is nothing to tell', () => {
    expect(reportCase('softmax', 'avx2', result('softmax'))).toEqual({
      bench: 'softmax',
      variant: 'avx2',
      name: 'softmax',
      shape: '[2, 3]',
      threads: 2,
      ours: 2,
      spread: [1.5, 2.5],
      peer: null,
      peerName: null,
      ratio: null,
      floor: null,
      floorName: null,
      target: null,
      met: null,
      size: null,
      note: null,
    })
  })

  it('carries peer, ratio, floor and target', () => {
    const target = fasterThan(2, 5, 2, 'a peer')
    const more = { peer: { name: 'a peer', time: 5 }, floor: { name: 'copy', time: 1 }, target }
    expect(reportCase('softmax', 'avx2', result('softmax', more))).toMatchObject({
      peer: 5,
      peerName: 'a peer',
      ratio: 0.4,
      floor: 1,
      floorName: 'copy',
      target: '2x faster than a peer',
      met: true,
    })
  })

  it('meets a target at its bound and misses it beyond', () => {
    expect(fasterThan(2, 4, 2, 'x').met).toBe(true)
    expect(fasterThan(2, 3.9, 2, 'x').met).toBe(false)
    expect(atMost(1.25, 1, 1.25, 'copy')).toEqual({ text: 'at most 1.25x copy', met: true })
    expect(atMost(1.26, 1, 1.25, 'copy').met).toBe(false)
  })
})

describe('merging', () => {
  const before = {
    machine,
    cases: [one('gram'), one('matmul'), one('matmul', 'avx512', 'old shape'), one('softmax'), one('matmul', 'avx2')],
  }

  it('exchanges the cases of one bench and variant alone, in their place', () => {
    expect(namesOf(mergeCases(before, [one('matmul', 'avx512', 'new shape')], order))).toEqual([
      'gram avx512 gram',
      'matmul avx512 new shape',
      'softmax avx512 softmax',
      'matmul avx2 matmul',
    ])
  })

  it('exchanges one count of threads alone', () => {
    const single = reportCase('matmul', 'avx512', result('matmul', { threads: 1 }))
    const merged = mergeCases(before, [single], order)
    expect(merged.cases.map(({ bench, threads }) => `${bench} ${threads}`)).toEqual([
      'gram 2',
      'matmul 1',
      'matmul 2',
      'matmul 2',
      'softmax 2',
      'matmul 2',
    ])
  })

  it('adds a bench that was not there, and drops one that is no more', () => {
    expect(namesOf(mergeCases({ machine, cases: [one('softmax'), one('gone')] }, [one('gram')], order))).toEqual([
      'gram avx512 gram',
      'softmax avx512 softmax',
    ])
  })

  it('keeps everything when nothing came', () => {
    expect(mergeCases(before, [], order).cases).toHaveLength(5)
  })
})

describe('the page', () => {
  it('has a table per variant, the best first, and counts targets', () => {
    const cases = [
      reportCase('gram', 'avx512', result('gram', { target: { text: 'fast', met: true } })),
      reportCase('matmul', 'avx512', result('matmul', { target: { text: 'a | b', met: false } })),
      one('gram', 'avx2'),
    ]
    const page = formatReport({ machine, cases })
    expect(page.indexOf('## avx512')).toBeLessThan(page.indexOf('## avx2'))
    expect(page).toContain('1 of 2 targets met')
    expect(page).toContain('a \\| b: **missed**')
    const widths = page
      .split('\n')
      .filter((line) => line.startsWith('|'))
      .map((line) => line.split(/(?<!\\)\|/).length)
    expect(new Set(widths).size).toBe(1)
  })

  it('prints a case on one line', () => {
    const more = { peer: { name: 'FFTW', time: 4 }, target: { text: '3x faster than FFTW', met: false } }
    expect(formatCase(reportCase('f', 'avx2', result('filter', more)))).toBe(
      'filter  [2, 3]  2 threads  2.00 (1.50-2.50)  4.00 FFTW  0.50 x peer  3x faster than FFTW: missed',
    )
  })
})

describe('a plot', () => {
  it('draws ours, the peer and the floor over the size', async () => {
    const sized = [32, 64, 128].map((value) =>
      reportCase(
        'filter',
        'avx512',
        result('filter', {
          ours: value / 100,
          size: { axis: 'length L', value },
          peer: { name: 'FFTW', time: value / 50 },
          floor: { name: 'copy', time: value / 200 },
        }),
      ),
    )
    const svg = await drawPlot('filter', sized)
    for (const text of ['<svg', 'length L', 'time, ms', 'Kairos', 'FFTW', 'floor: copy', '2 threads'])
      expect(svg).toContain(text)
  })

  it('is kept under a plain name', () => {
    expect(fileName('frequencyFilter, backward')).toBe('frequency-filter-backward')
    expect(fileName('rfft')).toBe('rfft')
  })
})
