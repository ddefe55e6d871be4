/** A proof of eight short runs; as a script it runs one: `tinyProof.ts FOLDER`. */
import { pathToFileURL } from 'node:url'
import { proveSystem } from '../../lib/prove/proveSystem.js'
import { chorusCvrProof } from '../../lib/systems/chorusCvr/proof.js'
import type { Proof } from '../../lib/systems/proof.js'

const point = (correlation: number) => ({ name: `rho ${correlation}`, knobs: { correlation }, x: correlation })

export const tinyProof: Proof = {
  ...(chorusCvrProof as Proof),
  sizes: {
    quick: { seeds: 2, train: 600, test: 300, epochs: 1, batchSize: 128, learningRate: 1e-3 },
    full: { seeds: 3, train: 600, test: 300, epochs: 1, batchSize: 128, learningRate: 1e-3 },
    specified: { seeds: 3, train: 600 },
  },
  experiments: [
    {
      name: 'small',
      data: {
        kind: 'simulator',
        preset: 'chorus-cvr',
        knobs: { users: 60, items: 40, clickRate: 0.4, conversionRate: 0.3 },
      },
      points: [point(0), point(0.9), point(0.5)],
      quickPoints: ['rho 0', 'rho 0.9'],
      arms: ['chorus', 'esmm'],
      config: { dimensions: 4, bottomSizes: [8], towerSizes: [4] },
    },
  ],
  plots: [{ title: 'Bias', experiment: 'small', xLabel: 'rho', statistic: 'B_D' }],
  acceptance: [
    {
      name: 'first',
      text: 'AUC is a number',
      part: 'simulator',
      needs: ['small / rho 0'],
      check: async (results) => {
        const { mean } = await results.mean('small / rho 0', 'chorus', 'AUC D')
        return { pass: mean > 0, figure: mean.toFixed(3) }
      },
    },
    {
      name: 'second',
      text: 'never holds',
      part: 'simulator',
      needs: ['small / rho 0.9'],
      check: () => ({ pass: false, figure: 'no' }),
    },
    { name: 'only full', text: 'in the full proof', part: 'report', needs: ['small / rho 0.5'] },
    { name: 'without a bar', text: 'reported', part: 'report', check: () => ({ pass: null, figure: 'so much' }) },
    { name: 'absent', text: 'on public data', part: 'public data', absent: 'a set that nobody has' },
    { name: 'unfit', text: 'on other data', part: 'public data', notRun: 'it has no times' },
  ],
}

export const prove = (output: string, more: object = {}, print: (line: string) => void = () => {}) =>
  proveSystem({ system: 'chorus-cvr', quick: true, output, threads: 1, judge: false, proof: tinyProof, ...more }, print)

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await prove(process.argv[2] as string)
