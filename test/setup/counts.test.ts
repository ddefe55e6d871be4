import { expect, test } from 'vitest'
import { countTests } from '../../lib/setup/test.mjs'

test('tests are counted, and a file that did not load counts as a failure', () => {
  const file = (status: string, ...tests: string[]) => ({
    status,
    assertionResults: tests.map((status) => ({ status })),
  })
  const testResults = [
    file('passed', 'passed', 'passed', 'skipped'),
    file('failed', 'passed', 'failed'),
    file('passed', 'pending', 'todo'),
    file('failed'),
  ]
  expect(countTests({ testResults })).toEqual({ passed: 3, failed: 2, skipped: 3 })
})
