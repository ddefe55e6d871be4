/** Training as PyTorch trains: from its initial weights, on its batches, step by step to its losses. */
import { describe, expect, it } from 'vitest'
import { buildMmoe, compileMmoe, loadPeer } from '../../bench/mmoe.js'
import { findPython } from '../../bench/peer.js'
import { Executor } from '../../lib/index.js'

/** What PyTorch 1.13 gets. */
const LOSSES = [2.04688, 2.0306, 2.02155]

describe('the losses of PyTorch', () => {
  it('are those of mmoe', async ({ skip }) => {
    const python = findPython()
    if (python === null) return skip('No Python with PyTorch and NumPy is here: install python3-torch, or set PYTHON')
    const executor = new Executor({ threads: 2 })
    const model = buildMmoe()
    const program = compileMmoe(model, executor)
    const { parameters, batches } = await loadPeer(model, python)
    for (const [i, expected] of LOSSES.entries()) {
      const { loss } = await program.step(batches[i] as never, {}, { parameters })
      expect(Math.abs((loss as number) - expected), `step ${i}: ${loss}`).toBeLessThan(1e-4)
    }
    await executor.close()
  })
})
