/** Every proof by the name of its system. */
import { chorusCvrProof } from './chorusCvr/proof.js'

export const proofs = { 'chorus-cvr': chorusCvrProof } as const

export type ProvenName = keyof typeof proofs
