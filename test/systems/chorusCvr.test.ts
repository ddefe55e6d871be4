/** ChorusCVR: its identities, its methods from the command line's side, and what its proof declares. */
import { afterAll, describe, expect, it } from 'vitest'
import { Executor } from '../../lib/runtime/index.js'
import * as identities from '../../lib/systems/chorusCvr/identities.js'

const executor = new Executor({ threads: 1 })
afterAll(() => executor.close())

describe('identities', () => {
  it.each(Object.entries(identities))('%s', async (_, identity) => {
    const { pass, figure } = await identity(executor)
    expect(pass, figure).toBe(true)
  })
})
