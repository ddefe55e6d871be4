/** What 'chorus-cvr' adds to exposures: nets of a latent z, and a conversion that every row has. */
import type { z } from 'zod'
import { Draws } from './draws.js'
import { type ExposurePreset, exposureProcess, type Platform } from './exposures.js'
import { type chorusCvr, LATENT, LATENT_WIDTH } from './presets/chorusCvr.js'
import { createTable, floatsOf, intsOf, type Table, type TableColumn } from './tables.js'

type Knobs = z.output<(typeof chorusCvr)['knobs']>

/** Hidden units of each net. */
const HIDDEN = 16
/** Deviation of a hidden unit's argument: the nets bend, but do not saturate. */
const GAIN = 1.5
/** Weight of the hidden coordinate beside the net, whose deviation is about as great. */
const CONFOUNDER = 0.7
const NETS = 2
/** Coordinates of a scene; the last of the context is the exposure's own. */
const SCENE = LATENT.context - 1

/** Latents [count, width], with a share that a group has in common. */
function latents(
  out: Float32Array,
  width: number,
  draws: Draws,
  own: (entity: number) => number,
  group?: Float64Array,
  share = 0,
) {
  for (let entity = 0; entity * width < out.length; entity++) {
    const of = own(entity)
    for (let i = 0; i < width; i++) {
      const common = group ? Math.sqrt(share) * (group[of * width + i] as number) : 0
      out[entity * width + i] = common + Math.sqrt(1 - share) * draws.normal()
    }
  }
}

function platform({ seed, users, items, scenes, groups, groupShare, clients }: Knobs): Platform {
  const usersTable = createTable(users, { group: 'int32', client: 'int32', latent: LATENT.user })
  const itemsTable = createTable(items, { latent: LATENT.item })
  const ofGroups = new Float64Array(groups * LATENT.user)
  new Draws(seed, 'groups').at(0).normals(ofGroups, 0, ofGroups.length)
  const draws = new Draws(seed, 'users')
  const [group, client] = [intsOf(usersTable, 'group'), intsOf(usersTable, 'client')]
  const openUser = (user: number) => {
    draws.at(user)
    group[user] = draws.int(groups) + 1
    client[user] = draws.int(clients) + 1
    return (group[user] as number) - 1
  }
  latents(floatsOf(usersTable, 'latent'), LATENT.user, draws, openUser, ofGroups, groupShare)
  const ofItems = new Draws(seed, 'items')
  latents(floatsOf(itemsTable, 'latent'), LATENT.item, ofItems, (item) => {
    ofItems.at(item)
    return item
  })

  const sceneLatents = new Float64Array(scenes * SCENE)
  new Draws(seed, 'scenes').at(0).normals(sceneLatents, 0, sceneLatents.length)
  const weights = new Float64Array(NETS * HIDDEN * LATENT_WIDTH)
  const biases = new Float64Array(NETS * HIDDEN)
  const outputs = new Float64Array(NETS * HIDDEN)
  const nets = new Draws(seed, 'nets').at(0)
  for (const [values, deviation] of [
    [weights, GAIN / Math.sqrt(LATENT_WIDTH)],
    [biases, GAIN / 2],
    [outputs, 1 / Math.sqrt(HIDDEN)],
  ] as const) {
    for (let i = 0; i < values.length; i++) values[i] = deviation * nets.normal()
  }
  const state = { sceneLatents, weights, biases, outputs }
  return { users: usersTable, items: itemsTable, authors: createTable(0, {}), state }
}

function model(knobs: Knobs, { users, items, state }: Platform, rows: Table, truth: Table) {
  const { hidden, noise, scenes } = knobs
  const { sceneLatents, weights, biases, outputs } = state as Record<string, Float64Array>
  const [ofUsers, ofItems] = [floatsOf(users, 'latent'), floatsOf(items, 'latent')]
  const groups = intsOf(users, 'group')
  const latent = new Float64Array(LATENT_WIDTH)
  const own = LATENT_WIDTH - 1
  const seen = hidden ? LATENT_WIDTH - 1 : LATENT_WIDTH
  const columns = rows.columns as Record<string, TableColumn>
  const trueLatent = (truth.columns.latent as TableColumn).values
  let [user, item, scene] = [0, 0, 0]

  return {
    openRequest(which: number) {
      user = which
      for (let i = 0; i < LATENT.user; i++) latent[i] = ofUsers[user * LATENT.user + i] as number
    },
    openExposure(draws: Draws) {
      scene = draws.int(scenes)
      const begin = LATENT.user + LATENT.item
      for (let i = 0; i < SCENE; i++) latent[begin + i] = sceneLatents![scene * SCENE + i] as number
      latent[own] = draws.normal()
    },
    score(which: number, count: number, raw: Float64Array) {
      item = which
      for (let i = 0; i < LATENT.item; i++) latent[LATENT.user + i] = ofItems[item * LATENT.item + i] as number
      for (let net = 0; net < count; net++) {
        let sum = hidden ? CONFOUNDER * (latent[own] as number) : 0
        for (let unit = net * HIDDEN; unit < (net + 1) * HIDDEN; unit++) {
          let argument = biases![unit] as number
          for (let i = 0; i < LATENT_WIDTH; i++)
            argument += (weights![unit * LATENT_WIDTH + i] as number) * (latent[i] as number)
          sum += (outputs![unit] as number) * Math.tanh(argument)
        }
        raw[net] = sum
      }
    },
    shift: () => 0,
    write(row: number, draws: Draws) {
      columns.item!.values[row] = item + 1
      columns.scene!.values[row] = scene + 1
      columns.userGroup!.values[row] = groups[user] as number
      const z = columns.z!.values
      for (let i = 0; i < seen; i++) z[row * seen + i] = (latent[i] as number) + noise * draws.normal()
      for (let i = 0; i < LATENT_WIDTH; i++) trueLatent[row * LATENT_WIDTH + i] = latent[i] as number
    },
  }
}

const preset: ExposurePreset<Knobs> = {
  objectives: ({ clickRate, conversionRate, clickScale, conversionScale, delay, window }) => [
    { name: 'click', rate: clickRate, scale: clickScale },
    {
      name: 'conversion',
      rate: conversionRate,
      scale: conversionScale,
      after: 'click',
      delay: 60 * delay,
      window: 3600 * window,
    },
  ],
  correlations: ({ correlation }) => Float64Array.of(1, correlation, correlation, 1),
  shown: ({ items }) => items,
  platform,
  rowColumns: ({ hidden }) => ({
    userGroup: 'int32',
    item: 'int32',
    scene: 'int32',
    z: hidden ? LATENT_WIDTH - 1 : LATENT_WIDTH,
  }),
  truthColumns: () => ({ latent: LATENT_WIDTH }),
  model,
}

export const funnel = exposureProcess(preset)
