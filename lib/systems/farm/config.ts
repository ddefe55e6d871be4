/** Settings of FARM, of its ablations and of what it is compared with on the same inputs and predictor. */
import { z } from 'zod'
import { KairosError } from '../../core/errors.js'

const switches = <const T extends readonly [string, ...string[]]>(...values: T) => z.enum(values)

export const farmConfig = z.strictObject({
  // Inputs
  dimensions: z.int().positive().default(64).describe('channels of acts, candidate and user preference'),
  embeddingDimensions: z.int().positive().default(16).describe('of farm: channels of an id'),
  candidate: z
    .array(z.string())
    .min(1)
    .default(['item', 'author', 'tag'])
    .describe('of farm: features of the candidate'),
  video: z.string().min(1).default('video').describe('of farm: what names of short-video sequences begin with'),
  live: z.string().min(1).default('live').describe('of farm: what names of live sequences begin with'),
  rare: z.string().min(1).optional().describe('of farm: what names of a subsequence of rare acts begin with; baseline'),
  videoLength: z.int().min(2).default(150).describe('of farm: latest short-video acts that count'),
  liveLength: z.int().min(2).default(50).describe('of farm: latest live acts that count'),
  behaviour: z.boolean().default(true).describe('of farm: acts tell what was done'),
  behaviourBits: z.boolean().default(false).describe('of farm: behaviours are sums of 1, 2, 4, ..., several to an act'),
  sparse: z.boolean().default(true).describe('update only the rows that a batch looks up'),
  perRequest: z
    .int()
    .positive()
    .default(1)
    .describe('of farm: rows of a request, which stand together; user and history are read once for them'),
  // Encoder of a domain
  encoder: switches('farm', 'plain', 'sasrec', 'bsarec')
    .default('farm')
    .describe('of farm: what makes preferences of acts; plain takes them as they are'),
  filter: switches('gated', 'none', 'gate', 'channel', 'full')
    .default('gated')
    .describe('of farm: alpha Low + beta High; none; the gate alone; Low + b^2 High; a learned filter'),
  cutoffShare: z.number().min(0).max(0.5).default(0.06).describe('of farm: share of a length that is low frequencies'),
  ragged: z.boolean().default(false).describe('of farm: transform the acts alone, without their padding'),
  gateHidden: z.int().positive().default(64).describe('of farm: units of the network that gives alpha and beta'),
  gatePerChannel: z.boolean().default(false).describe('of farm: an alpha and a beta for each channel'),
  gateSees: switches('candidate', 'user')
    .default('candidate')
    .describe('of farm: user makes all but target attention the same for all candidates'),
  fixedAlpha: z.number().min(0).optional().describe('of farm: alpha of every sample; learned unless told'),
  fixedBeta: z.number().min(0).optional().describe('of farm: beta of every sample; learned unless told'),
  layers: z.int().positive().default(2).describe('of farm: blocks of sasrec and bsarec'),
  // Align
  align: switches('before', 'after', 'none')
    .default('before')
    .describe('of farm: domains aligned before or after they fuse'),
  alignWeight: z.number().min(0).default(0.1).describe('of farm: lambda'),
  temperature: z.number().positive().default(0.1).describe('of farm: tau of the contrast'),
  leastActs: z.int().nonnegative().default(5).describe('of farm: users with fewer in a domain are not aligned'),
  user: z.string().optional().describe('of farm: the group id (input: true) whose rows are no negatives of each other'),
  // Fuse
  domains: switches('both', 'live').default('both').describe('of farm: live leaves short video out'),
  fuse: switches('series', 'target', 'pooled')
    .default('series')
    .describe('of farm: all attentions; those of the candidate alone; pooled vectors side by side'),
  heads: z.int().positive().default(4).describe('of farm: heads of every attention'),
  // Predictor
  products: z
    .boolean()
    .default(false)
    .describe('of farm: the predictor also sees the candidate times each thing that attention said of it'),
  levels: z.int().positive().default(2).describe('of farm: extraction levels'),
  taskExperts: z.int().positive().default(2).describe('of farm: experts of each task alone, per level'),
  sharedExperts: z.int().positive().default(2).describe('of farm: experts of all tasks, per level'),
  expertSizes: z.array(z.int().positive()).min(1).default([256, 128]).describe("widths of an expert's layers"),
  towerSizes: z.array(z.int().positive()).default([64]).describe("widths of a task's tower before its logit"),
  dropout: z.number().min(0).lt(1).default(0.1).describe('dropout of what encoders add, and of the experts'),
  labelMasks: z
    .record(z.string(), z.string())
    .default({})
    .describe('of farm: task -> label; the task is learnt only on rows where that label is 1'),
})

export type FarmConfig = z.infer<typeof farmConfig>

/** Frequencies below this bin are low: round(share L) + 1 of the L / 2 + 1 there are. */
export const cutoffFor = (length: number, share: number): number =>
  Math.min(Math.round(share * length) + 1, Math.floor(length / 2) + 1)

/** Candidates of a request share gates only where these do not see them. Throws KAIROS_ARGUMENT. */
export function checkRequests({ perRequest, gateSees, encoder, filter }: FarmConfig): void {
  const isGated = encoder === 'farm' && (filter === 'gated' || filter === 'gate')
  if (perRequest === 1 || !isGated || gateSees === 'user') return
  throw new KairosError('KAIROS_ARGUMENT', {
    op: 'farm',
    argument: 'gateSees',
    expected: "'user', so that the candidates of a request share what it makes,",
    got: `'${gateSees}' with ${perRequest} rows to a request`,
  })
}
