import { describe, expect, test } from 'vitest'
import { floors, floorViolation, floorViolations } from '../../lib/setup/floors.mjs'

describe('import floors', () => {
  test.each([
    ['lib/ops/matmul.ts', '../graph/defineOp.js'],
    ['lib/ops/matmul.ts', '../core/errors.js'],
    ['lib/ops/matmul.ts', './registry.js'],
    ['lib/runtime/load.ts', 'node:fs'],
    ['lib/systems/frequency/model.ts', '../../nn/linear.js'],
    ['lib/systems/frequency/model.ts', '../system.js'],
    ['lib/systems/index.ts', './frequency/index.js'],
    ['lib/train/loop.ts', '../systems/system.js'],
    ['lib/cli/main.ts', '../systems/frequency/index.js'],
    ['lib/index.ts', './cli/main.js'],
  ])('%s may import %s', (from, specifier) => {
    expect(floorViolation(from, specifier)).toBeUndefined()
  })

  test.each([
    ['lib/core/errors.ts', '../graph/node.js', 'lib/core may import nothing and what lies below'],
    ['lib/core/random.ts', 'node:crypto', 'lib/core imports nothing'],
    ['lib/graph/trace.ts', '../ops/matmul.js', 'lib/graph may import core, runtime and what lies below'],
    ['lib/nn/linear.ts', '../optim/adam.js', 'lib/nn may import ops and what lies below'],
    ['lib/ops/matmul.ts', '../data/batch.js', 'lib/ops may import graph and what lies below'],
    ['lib/systems/farm/model.ts', '../frequency/model.js', 'a system does not reach into another'],
    ['lib/train/loop.ts', '../systems/frequency/model.js', "a system's inside is its own; import lib/systems instead"],
    ['lib/graph/trace.ts', '../../test/oracle.js', 'that is on no floor'],
    ['lib/misc/things.ts', '../core/errors.js', 'lib/misc has no floor; give it one in lib/setup/floors.mjs'],
  ])('%s may not import %s', (from, specifier, why) => {
    expect(floorViolation(from, specifier)).toMatch(new RegExp(`^${from}.*: .*${why}|^${from}: ${why}`))
  })

  test('all imports of all files are looked at', () => {
    const files = new Map([
      ['lib/core/a.ts', 'up'],
      ['lib/ops/b.ts', 'down'],
    ])
    const importsOf = (text: string) => (text === 'up' ? ['../cli/main.js', './b.js'] : ['../graph/node.js'])
    expect(floorViolations(files, importsOf)).toEqual([
      'lib/core/a.ts imports ../cli/main.js: lib/core may import nothing and what lies below',
    ])
  })

  test('the table has no cycle and names only its own folders', () => {
    const table: Record<string, readonly string[]> = floors
    const height = (folder: string, above: readonly string[] = []): number => {
      expect(above).not.toContain(folder)
      expect(table).toHaveProperty(folder)
      return 1 + Math.max(0, ...(table[folder] ?? []).map((name) => height(name, [...above, folder])))
    }
    expect(Object.keys(table).map((folder) => height(folder))).toEqual(
      expect.arrayContaining([1, 2, 3, 4, 5, 6, 7, 8, 9]),
    )
  })
})
