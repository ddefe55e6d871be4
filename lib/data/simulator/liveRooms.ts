/** What 'pantheon' adds to exposures: rooms whose topic changes every 30 s, turning interests, utilities of users. */
import type { z } from 'zod'
import { Draws } from './draws.js'
import { type ExposurePreset, exposureProcess, type ObjectiveLaw, type Platform } from './exposures.js'
import { correlations, objectives, type pantheon, SCENES } from './presets/pantheon.js'
import { START } from './process.js'
import { createTable, floatsOf, intsOf, type Table, type TableColumn } from './tables.js'

type Knobs = z.output<(typeof pantheon)['knobs']>

/** Width of factors. */
const WIDTH = 8
/** Seconds that a room's content lasts. */
const BLOCK = 30
const COUNT = objectives.length
const GIFT = objectives.indexOf('gift')

function laws(knobs: Knobs): ObjectiveLaw[] {
  return objectives.map((name) => ({
    name,
    rate: knobs[`${name}Rate`],
    scale: knobs.scale,
    ...(name === 'gift' ? { delay: 60 * knobs.giftDelay } : {}),
  }))
}

function platform(knobs: Knobs): Platform {
  const { seed, users, authors, topics, groups, groupShare, common, clients, utilitySpread } = knobs
  const usersTable = createTable(users, {
    group: 'int32',
    client: 'int32',
    factor: WIDTH,
    factorTurned: WIDTH,
    utilityWeights: COUNT,
  })
  const ofGroups = new Float64Array(groups * 2 * WIDTH)
  new Draws(seed, 'groups').at(0).normals(ofGroups, 0, ofGroups.length)
  const ofAll = new Float64Array(2 * WIDTH)
  new Draws(seed, 'common').at(0).normals(ofAll, 0, ofAll.length)
  const draws = new Draws(seed, 'users')
  const weights = floatsOf(usersTable, 'utilityWeights')
  for (let user = 0; user < users; user++) {
    draws.at(user)
    const group = draws.int(groups)
    intsOf(usersTable, 'group')[user] = group + 1
    intsOf(usersTable, 'client')[user] = draws.int(clients) + 1
    for (const [which, name] of ['factor', 'factorTurned'].entries()) {
      const factor = floatsOf(usersTable, name)
      for (let i = 0; i < WIDTH; i++) {
        const ofGroup = ofGroups[(2 * group + which) * WIDTH + i] as number
        const own = Math.sqrt(groupShare) * ofGroup + Math.sqrt(1 - groupShare) * draws.normal()
        factor[user * WIDTH + i] =
          Math.sqrt(common) * (ofAll[which * WIDTH + i] as number) + Math.sqrt(1 - common) * own
      }
    }
    let sum = 0
    for (let k = 0; k < COUNT; k++) sum += weights[user * COUNT + k] = Math.exp(utilitySpread * draws.normal())
    for (let k = 0; k < COUNT; k++) weights[user * COUNT + k] = (weights[user * COUNT + k] as number) / sum
  }
  const vectors = (count: number, stream: string, column: string) => {
    const table = createTable(count, { [column]: WIDTH })
    const own = new Draws(seed, stream)
    const values = floatsOf(table, column)
    for (let entity = 0; entity < count; entity++) {
      own.at(entity)
      for (let i = 0; i < WIDTH; i++) values[entity * WIDTH + i] = own.normal()
    }
    return table
  }
  // Diagonals of E_k and D_k, and which scenes raise gifts: half of them.
  const diagonals = new Float64Array(2 * COUNT * WIDTH)
  const own = new Draws(seed, 'objectives').at(0)
  own.normals(diagonals, 0, diagonals.length)
  const scenes = Int32Array.from({ length: SCENES }, (_, scene) => scene % 2)
  for (let last = SCENES - 1; last > 0; last--) {
    const other = own.int(last + 1)
    const held = scenes[last] as number
    scenes[last] = scenes[other] as number
    scenes[other] = held
  }
  const [items, authorsTable] = [vectors(topics, 'topics', 'vector'), vectors(authors, 'authors', 'factor')]
  return { users: usersTable, items, authors: authorsTable, state: { diagonals, scenes } }
}

/** The topic of a room at a moment: that of the last block at whose beginning it changed. */
function topicsOf({ seed, jump, topics }: Knobs) {
  const draws = new Draws(seed, 'rooms')
  return (author: number, time: number): number => {
    let block = jump === 0 ? 0 : Math.floor((time - START) / BLOCK)
    for (; block > 0; block--) if (draws.at(author, block).uniform() < jump) return draws.int(topics)
    draws.at(author, 0).uniform()
    return draws.int(topics)
  }
}

function model(knobs: Knobs, { users, items, authors, state }: Platform, rows: Table, truth: Table) {
  const { content, drift, contextEffect } = knobs
  const { diagonals, scenes } = state as { diagonals: Float64Array; scenes: Int32Array }
  const rates = laws(knobs).map(({ rate }) => rate)
  const [factor, turned] = [floatsOf(users, 'factor'), floatsOf(users, 'factorTurned')]
  const [ofAuthors, ofTopics] = [floatsOf(authors, 'factor'), floatsOf(items, 'vector')]
  const weights = floatsOf(users, 'utilityWeights')
  const groups = intsOf(users, 'group')
  const topicAt = topicsOf(knobs)
  const interest = new Float64Array(WIDTH)
  const [ofAuthor, ofTopic] = [Math.sqrt(1 - content), Math.sqrt(content)]
  const columns = rows.columns as Record<string, TableColumn>
  const [utility, context] = [truth.columns.utility, truth.columns.context] as [TableColumn, TableColumn]
  let [user, time, author, topic, scene] = [0, 0, 0, 0, 0]

  return {
    openRequest(which: number, moment: number) {
      user = which
      time = moment
      const angle = drift * Math.floor((time - START) / 86400)
      const [c, s] = [Math.cos(angle), Math.sin(angle)]
      for (let i = 0; i < WIDTH; i++)
        interest[i] = c * (factor[user * WIDTH + i] as number) + s * (turned[user * WIDTH + i] as number)
    },
    openExposure(draws: Draws) {
      scene = draws.int(SCENES)
    },
    score(item: number, count: number, raw: Float64Array) {
      author = item
      topic = topicAt(author, time)
      for (let k = 0; k < count; k++) {
        let [byAuthor, byTopic] = [0, 0]
        for (let i = 0; i < WIDTH; i++) {
          const u = interest[i] as number
          byAuthor += u * (diagonals[k * WIDTH + i] as number) * (ofAuthors[author * WIDTH + i] as number)
          byTopic += u * (diagonals[(COUNT + k) * WIDTH + i] as number) * (ofTopics[topic * WIDTH + i] as number)
        }
        raw[k] = ofAuthor * byAuthor + ofTopic * byTopic
      }
    },
    shift: (k: number) => (k === GIFT ? contextEffect * (2 * (scenes[scene] as number) - 1) : 0),
    write(row: number, _: Draws, p: Float64Array) {
      columns.userGroup!.values[row] = groups[user] as number
      columns.author!.values[row] = author + 1
      columns.topic!.values[row] = topic + 1
      columns.scene!.values[row] = scene + 1
      let sum = 0
      for (let k = 0; k < COUNT; k++)
        sum += ((weights[user * COUNT + k] as number) * (p[k] as number)) / (rates[k] as number)
      utility.values[row] = sum
      context.values[row] = scenes[scene] as number
    },
  }
}

const preset: ExposurePreset<Knobs> = {
  objectives: laws,
  correlations: ({ correlation }) =>
    Float64Array.from(correlations.flatMap((row, i) => row.map((value, j) => (i === j ? 1 : correlation * value)))),
  shown: ({ authors }) => authors,
  platform,
  rowColumns: () => ({ userGroup: 'int32', author: 'int32', topic: 'int32', scene: 'int32' }),
  truthColumns: () => ({ utility: 'float32', context: 'int32' }),
  model,
}

export const liveRooms = exposureProcess(preset)
