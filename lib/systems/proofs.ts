/** Every proof by the name of its system. */
import { chorusCvrProof } from './chorusCvr/proof.js'
import { farmProof } from './farm/proof.js'

export const proofs = { 'chorus-cvr': chorusCvrProof, farm: farmProof } as const

export type ProvenName = keyof typeof proofs
