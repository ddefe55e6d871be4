import { expect, test } from 'vitest'
import { lengthViolations, lockfileViolations, sourceListViolations, wordViolations } from '../../lib/setup/lint.mjs'

test('a file of 600 lines passes and one of 601 does not', () => {
  expect(lengthViolations('lib/a.ts', 'x\n'.repeat(600))).toEqual([])
  expect(lengthViolations('lib/a.ts', 'x\n'.repeat(601))).toEqual(['lib/a.ts has 601 lines (at most 600): split it'])
})

test('a lockfile that names a host is refused', () => {
  const lockfile = (entry: object) => JSON.stringify({ packages: { '': {}, 'node_modules/a': entry } })
  expect(lockfileViolations(lockfile({ version: '1.0.0' }))).toEqual([])
  expect(lockfileViolations(lockfile({ resolved: 'https://example.org/a.tgz' }))).toEqual([
    'package-lock.json names a host for node_modules/a; run npm install with omit-lockfile-registry-resolved=true, ' +
      'as .npmrc says',
  ])
})

test('registry hosts and paths of one machine are refused', () => {
  const host = ['npmjs', 'org'].join('.')
  const path = ['', 'root', 'kairos'].join('/')
  expect(wordViolations('README.md', `from https://registry.${host}/x`)).toEqual([
    `README.md names a package registry: ${host}`,
  ])
  expect(wordViolations('README.md', `see ${path}`)).toHaveLength(1)
  expect(
    wordViolations('README.md', 'see lib/root/kairos, /root-relative paths and https://example.org/work/'),
  ).toEqual([])
})

test('a native source that no build lists is refused', () => {
  const listed = 'native/cpu/a.cc\nadd_library(extra MODULE native/cpu/b.cc)\n'
  expect(sourceListViolations(['native/cpu/a.cc', 'native/cpu/b.cc'], listed)).toEqual([])
  expect(sourceListViolations(['native/cpu/c.cc'], listed)).toEqual(['native/cpu/c.cc is not in native/sources.txt'])
})
