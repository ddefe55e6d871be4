/** Pantheon: its identities, and the parts that its proof is made of. */
import { afterAll, describe, expect, it } from 'vitest'
import { Executor } from '../../lib/runtime/index.js'
import * as identities from '../../lib/systems/pantheon/identities.js'

const executor = new Executor({ threads: 1 })
afterAll(() => executor.close())

describe('identities', () => {
  it.each(Object.entries(identities))(
    '%s',
    async (_, identity) => {
      const { pass, figure } = await identity(executor)
      expect(pass, figure).toBe(true)
    },
    60_000,
  )
})
