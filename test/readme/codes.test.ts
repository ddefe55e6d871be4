/** The README lists the error codes that exist, in the table's own words. */
import { readFile } from 'node:fs/promises'
import { expect, it } from 'vitest'
import { errorTable } from '../../lib/core/errors.js'

it('the README lists every error code', async () => {
  const page = await readFile(new URL('../../README.md', import.meta.url), 'utf8')
  const listed = [...page.matchAll(/^\| `(KAIROS_[A-Z_]+)` \| (.*\.) \|$/gm)].map(([, code, meaning]) => [
    code,
    meaning,
  ])
  expect(Object.fromEntries(listed)).toEqual(errorTable)
})
