import { z } from 'zod'
import { categorical, defineSchema, dense, groupId, label, time } from '../../features.js'
import { commonKnobs, integer, type Preset, policyKnobs, rate, real } from '../preset.js'

const knobs = z.strictObject({
  ...commonKnobs,
  events: integer(1, 1_000_000_000).describe('exposures, in time order').default(2_000_000),
  users: integer(1, 10_000_000).describe('users').default(20_000),
  items: integer(1, 10_000_000).describe('items').default(10_000),
  scenes: integer(1, 100_000).describe('contexts with an id').default(1000),
  clickRate: rate().describe('mean of P(click)').default(0.05),
  conversionRate: rate().describe('mean of P(conversion | do(click)) over all exposures').default(0.03),
  clickScale: real(0, 20).describe('deviation of the logit of click: the strength of selection').default(1.5),
  conversionScale: real(0, 20).describe('deviation of the logit of conversion').default(1.5),
  correlation: real(-0.99, 0.99).describe('correlation of the scores of click and conversion (rho)').default(0.5),
  hidden: z
    .boolean()
    .describe('setting 2: one coordinate that moves both scores is not among the features')
    .default(false),
  noise: real(0, 10).describe('deviation of the noise on each coordinate of z that the features have').default(0.5),
  delay: real(0, 100_000).describe('mean minutes from click to conversion').default(30),
  window: real(0.01, 10_000).describe('hours after which a conversion is not attributed').default(24),
  days: real(0.001, 10_000).describe('days that the log covers').default(14),
  perRequest: policyKnobs.perRequest.default(1),
  selection: policyKnobs.selection.default(0),
  positionBias: policyKnobs.positionBias.default(0),
  popularity: policyKnobs.popularity.default(0),
})

/** Coordinates of z: of the user, the item and the context. */
export const LATENT = { user: 6, item: 6, context: 4 } as const
export const LATENT_WIDTH = 16

function schema({ users, items, scenes, groups, hidden }: z.output<typeof knobs>) {
  return defineSchema({
    user: groupId(),
    time: time(),
    userId: categorical({ size: users + 1, column: 'user' }),
    userGroup: categorical({ size: groups + 1 }),
    item: categorical({ size: items + 1 }),
    scene: categorical({ size: scenes + 1 }),
    z: dense((hidden ? LATENT_WIDTH - 1 : LATENT_WIDTH) as number),
    click: label(),
    conversion: label(),
  })
}

/**
 * The funnel exposure -> click -> conversion with the conversion of *every* row known. z in R^16 has coordinates of the
 * user (6), the item (6) and the scene (3, and one of the exposure alone); f_o and f_r are random two-layer nets of it,
 * standardised, with the correlation `correlation` over exposures:
 *
 *     P(o = 1)             = sigmoid(a_o + clickScale f_o(z))             mean clickRate
 *     P(r = 1 | do(click)) = sigmoid(a_r + conversionScale f_r(z))        mean conversionRate
 *
 * r is drawn for every row; the label `conversion` shows it where o = 1 and the conversion came within `window`. Features:
 * ids, and z with noise; with `hidden` the exposure's own coordinate, which then moves both scores, is left out.
 *
 * Truth of rows: `pClick`, `pConversion` (given a click, before attribution), `conversion` (r, drawn for every row),
 * `clickScore`, `conversionScore` (f_o and f_r), `latent` (z without noise), `examined` (probability that the position
 * is looked at; P(click) includes it). Rows also hold `position`, `client`, and `conversionDelay`: seconds, -1 where no
 * conversion was attributed.
 */
export const chorusCvr = {
  name: 'chorus-cvr',
  description: 'exposure, click and conversion, with the conversion of un-clicked rows known',
  knobs,
  schema,
  split: 'by-time',
  system: 'chorus-cvr',
} as const satisfies Preset<typeof knobs>
