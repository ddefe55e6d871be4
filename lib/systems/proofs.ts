/** Every proof by the name of its system. */
import { chorusCvrProof } from './chorusCvr/proof.js'
import { farmProof } from './farm/proof.js'
import { pantheonProof } from './pantheon/proof.js'

export const proofs = { 'chorus-cvr': chorusCvrProof, farm: farmProof, pantheon: pantheonProof } as const

export type ProvenName = keyof typeof proofs
