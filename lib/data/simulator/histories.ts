/** The process of 'farm': acts of each user, then a request. A unit is a user. */
import { dot, interceptFor, sigmoid } from './calibration.js'
import { Draws } from './draws.js'
import { createAuthors, createItems, createUsers, type Knobs } from './historyPlatform.js'
import { behaviours, domains } from './presets/farm.js'
import { type Draw, type Prepared, type Process, START, type Tables } from './process.js'
import { createTable, float64, floatsOf, int32, intsOf, type Table, type TableColumn } from './tables.js'

/** Seconds between two acts of a user. */
const STEP = 60
/** Requests that fix the intercept. */
const PILOT = 65_536
/** Probabilities of view and of click; the rest are long views. */
const VIEWS = 0.5
const CLICKS = 0.3
/** Likes among valuable acts; the rest are gifts. */
const LIKES = 2 / 3

type RaggedColumn = TableColumn & { readonly offsets: Int32Array }

/** A sequence column of all rows: each of a user's `candidates` rows has `lengths[user]` values. */
function ragged(lengths: Int32Array, candidates: number): TableColumn {
  const offsets = int32(lengths.length * candidates + 1)
  for (let row = 0; row + 1 < offsets.length; row++)
    offsets[row + 1] = (offsets[row] as number) + (lengths[Math.floor(row / candidates)] as number)
  return { values: int32(offsets.at(-1) as number), offsets }
}

/**
 * Users begin one step after another, so that step s of user u falls into slot u + s and the request into slot
 * u + longest. `order[firstAct[u] + i]` is the place of act i among all events, `request[u]` that of the first candidate.
 */
function orderOf(acts: Int32Array, longest: number, candidates: number) {
  const users = acts.length
  const firstAct = int32(users + 1)
  for (let user = 0; user < users; user++) firstAct[user + 1] = (firstAct[user] as number) + (acts[user] as number)
  const order = int32(firstAct[users] as number)
  const request = int32(users)
  const times = float64(order.length + users * candidates)
  let event = 0
  for (let slot = 0; slot < users + longest; slot++) {
    const begin = event
    for (let user = Math.max(0, slot - longest); user <= Math.min(slot, users - 1); user++) {
      const step = slot - user
      const act = step - (longest - (acts[user] as number))
      if (step === longest) {
        request[user] = event
        event += candidates
      } else if (act >= 0) order[(firstAct[user] as number) + act] = event++
    }
    for (let i = begin; i < event; i++) times[i] = START + STEP * (slot + (i - begin) / (event - begin))
  }
  return { firstAct, order, request, times }
}

/** What each act of a user is before its item is chosen. Both functions are of (user, index) alone. */
function actsOf({ seed, valuableRate }: Knobs, part: string, users: Table) {
  const draws = new Draws(seed, `acts ${part}`)
  const orders = new Draws(seed, `orders ${part}`)
  const [video, live] = [intsOf(users, 'videoActs'), intsOf(users, 'liveActs')]
  const videoOnly = intsOf(users, 'videoOnly')
  return {
    draws,
    orders,
    count: (user: number) => (video[user] as number) + (live[user] as number),
    /** Live acts are spread evenly among the others, from a place of the user's own. */
    livePlaces(user: number): (index: number) => boolean {
      const start = orders.at(user, 2).uniform()
      const share = (live[user] as number) / ((live[user] as number) + (video[user] as number))
      return (index) => Math.floor((index + 1) * share + start) > Math.floor(index * share + start)
    },
    /** Whether the act comes from the valuable interest: its first number, behind which `draws` then stands. */
    isValuable(user: number, index: number, isLive: boolean): boolean {
      const shown = draws.at(user, index).uniform() < valuableRate
      return shown && !(isLive && videoOnly[user] === 1)
    },
  }
}

function prepare({ knobs, exposure, part }: Draw<Knobs>): Prepared {
  const users = createUsers(knobs)
  const authors = createAuthors(knobs)
  const items = createItems(knobs, authors)
  const { candidates } = exposure
  const { count, livePlaces, isValuable } = actsOf(knobs, part, users)
  const acts = Int32Array.from({ length: knobs.users }, (_, user) => count(user))
  const { firstAct, order, request, times } = orderOf(acts, knobs.videoActs + knobs.liveActs, candidates)
  const rowCount = knobs.users * candidates
  const { columns } = createTable(rowCount, {
    user: 'int32',
    time: 'float64',
    client: 'int32',
    userGroup: 'int32',
    item: 'int32',
    author: 'int32',
    tag: 'int32',
    click: 'float32',
  })
  const sequences: Record<string, TableColumn> = {}
  const add = (lengths: Int32Array, names: readonly string[]) => {
    for (const name of names) sequences[name] = ragged(lengths, candidates)
  }
  add(intsOf(users, 'videoActs'), ['videoItem', 'videoAuthor', 'videoTag', 'videoBehaviour'])
  add(intsOf(users, 'liveActs'), ['liveItem', 'liveAuthor', 'liveTag', 'liveBehaviour'])
  if (knobs.rareActs) {
    const rare = acts.map((length, user) => {
      const isLive = livePlaces(user)
      let found = 0
      for (let index = 0; index < length; index++) if (isValuable(user, index, isLive(index))) found++
      return found
    })
    add(rare, ['rareItem', 'rareAuthor', 'rareTag'])
  }
  const events = createTable(times.length, {
    user: 'int32',
    domain: 'int32',
    client: 'int32',
    item: 'int32',
    author: 'int32',
    tag: 'int32',
    behaviour: 'int32',
  })
  const tables: Tables = {
    rows: { rowCount, columns: { ...columns, ...sequences } },
    truth: createTable(rowCount, {
      pClick: 'float32',
      stable: 'float32',
      valuable: 'float32',
      authorEffect: 'float32',
      acts: 'int32',
    }),
    events: { ...events, columns: { time: { values: times }, ...events.columns } },
    eventTruth: createTable(times.length, { valuable: 'int32', step: 'int32' }),
    users,
    items,
    authors,
  }
  const state = { firstAct, order, request, intercept: Float64Array.of(interceptOf(knobs, tables)) }
  return { tables, state, units: knobs.users, events: times.length }
}

function interceptOf(knobs: Knobs, tables: Tables): number {
  const judge = judgeOf(knobs, tables)
  const draws = new Draws(knobs.seed, 'pilot')
  const logits = new Float64Array(PILOT)
  for (let i = 0; i < PILOT; i++) {
    draws.at(i)
    logits[i] = judge(draws.int(knobs.users), knobs.videos + draws.int(knobs.rooms)).logit
  }
  return interceptFor(knobs.clickRate, logits)
}

/** Writes the stable interest of a user at a step. */
function stableInterest({ dimensions, drift, videoActs, liveActs }: Knobs, users: Table) {
  const longest = Math.max(1, videoActs + liveActs)
  const [cos, sin, phase] = [floatsOf(users, 'stableCos'), floatsOf(users, 'stableSin'), floatsOf(users, 'phase')]
  return (user: number, step: number, out: Float64Array): void => {
    const angle = (2 * Math.PI * drift * step) / longest + (phase[user] as number)
    const [c, s, u] = [Math.cos(angle), Math.sin(angle), user * dimensions]
    for (let i = 0; i < dimensions; i++) out[i] = c * (cos[u + i] as number) + s * (sin[u + i] as number)
  }
}

/** The parts of a candidate's logit at the request, and the logit but for its intercept. */
function judgeOf(knobs: Knobs, { users, items, authors }: Tables) {
  const { dimensions, scale, omega } = knobs
  const longest = knobs.videoActs + knobs.liveActs
  const stableAt = stableInterest(knobs, users)
  const valuableInterest = floatsOf(users, 'valuableInterest')
  const vector = floatsOf(items, 'vector')
  const author = intsOf(items, 'author')
  const effects = floatsOf(authors, 'effect')
  const unit = Math.sqrt(dimensions)
  const interest = new Float64Array(dimensions)
  return (user: number, item: number) => {
    stableAt(user, longest, interest)
    const stable = unit * dot(interest, 0, vector, item * dimensions, dimensions)
    const valuable = unit * dot(valuableInterest, user * dimensions, vector, item * dimensions, dimensions)
    const authorEffect = effects[(author[item] as number) - 1] as number
    return { stable, valuable, authorEffect, logit: scale * (omega * valuable + (1 - omega) * stable) + authorEffect }
  }
}

/** One of `pool` items, drawn with probability proportional to exp(sharpness <interest, q>). */
function chooser({ dimensions, sharpness, pool }: Knobs, items: Table, draws: Draws) {
  const vector = floatsOf(items, 'vector')
  const drawn = new Int32Array(pool)
  const sums = new Float64Array(pool)
  return (interest: Float64Array, first: number, count: number): number => {
    let sum = 0
    for (let i = 0; i < pool; i++) {
      const item = first + draws.int(count)
      drawn[i] = item
      sum += Math.exp(sharpness * dot(interest, 0, vector, item * dimensions, dimensions))
      sums[i] = sum
    }
    const u = draws.uniform() * sum
    let i = 0
    while (i < pool - 1 && (sums[i] as number) <= u) i++
    return drawn[i] as number
  }
}

function filler({ knobs, exposure, part }: Draw<Knobs>, { tables, state }: Prepared) {
  const { dimensions, noise, videos, rooms } = knobs
  const { candidates } = exposure
  const { rows, truth, events, eventTruth, users, items } = tables
  const { firstAct, order, request, intercept } = state as Record<'firstAct' | 'order' | 'request', Int32Array> & {
    readonly intercept: Float64Array
  }
  const longest = knobs.videoActs + knobs.liveActs
  const { draws, orders, count, livePlaces, isValuable } = actsOf(knobs, part, users)
  const requests = new Draws(knobs.seed, `requests ${part}`)
  const judge = judgeOf(knobs, tables)
  const stableAt = stableInterest(knobs, users)
  const valuableInterest = floatsOf(users, 'valuableInterest')
  const choose = chooser(knobs, items, draws)
  const interest = new Float64Array(dimensions)
  const [author, tag] = [intsOf(items, 'author'), intsOf(items, 'tag')]
  const [group, client] = [intsOf(users, 'group'), intsOf(users, 'client')]

  // The acts of the user at hand, by index.
  const chosen = new Int32Array(longest)
  const behaviour = new Int32Array(longest)
  const live = new Uint8Array(longest)
  const places = new Int32Array(longest)

  function act(user: number, index: number, step: number): void {
    const fromValuable = isValuable(user, index, live[index] === 1)
    const kind = draws.uniform()
    if (fromValuable) {
      for (let i = 0; i < dimensions; i++) interest[i] = valuableInterest[user * dimensions + i] as number
      behaviour[index] = kind < LIKES ? behaviours.like : behaviours.gift
    } else {
      stableAt(user, step, interest)
      for (let i = 0; i < dimensions; i++)
        interest[i] = (interest[i] as number) + (noise / Math.sqrt(dimensions)) * draws.normal()
      behaviour[index] = kind < VIEWS ? behaviours.view : kind < VIEWS + CLICKS ? behaviours.click : behaviours.longView
    }
    chosen[index] = live[index] === 1 ? choose(interest, videos, rooms) : choose(interest, 0, videos)
  }

  /** Exchanges the acts of one domain at random; their moments stay. */
  function shuffle(user: number, acts: number, domain: number): void {
    let n = 0
    for (let index = 0; index < acts; index++) if (live[index] === domain) places[n++] = index
    orders.at(user, domain)
    for (let last = n - 1; last > 0; last--) {
      const [a, b] = [places[last] as number, places[orders.int(last + 1)] as number]
      for (const values of [chosen, behaviour]) {
        const held = values[a] as number
        values[a] = values[b] as number
        values[b] = held
      }
    }
  }

  const sequence = (name: string) => {
    const parts = ['Item', 'Author', 'Tag', 'Behaviour'].map((part) => rows.columns[`${name}${part}`])
    const offsets = (parts[0] as RaggedColumn | undefined)?.offsets
    return {
      begin: (row: number) => (offsets ? (offsets[row] as number) : 0),
      write(at: number, index: number): void {
        const item = chosen[index] as number
        const values = [item + 1, author[item] as number, tag[item] as number, behaviour[index] as number]
        for (const [i, column] of parts.entries()) if (column) column.values[at] = values[i] as number
      },
    }
  }
  const [videoSequence, liveSequence, rareSequence] = [sequence('video'), sequence('live'), sequence('rare')]

  /** Writes the history into the first row of the user, and copies it into the others. */
  function writeHistory(user: number, acts: number): void {
    const first = user * candidates
    let [video, inLive, rare] = [videoSequence.begin(first), liveSequence.begin(first), rareSequence.begin(first)]
    for (let index = 0; index < acts; index++) {
      if (live[index] === 1) liveSequence.write(inLive++, index)
      else videoSequence.write(video++, index)
      if ((behaviour[index] as number) >= behaviours.like) rareSequence.write(rare++, index)
    }
    for (const { values, offsets } of Object.values(rows.columns)) {
      if (!offsets) continue
      const [begin, end] = [offsets[first] as number, offsets[first + 1] as number]
      for (let row = first + 1; row < first + candidates; row++) values.copyWithin(offsets[row] as number, begin, end)
    }
  }

  const happened = Object.fromEntries(Object.entries(events.columns).map(([name, { values }]) => [name, values]))
  const { valuable: wasValuable, step: ofStep } = eventTruth.columns as Record<'valuable' | 'step', TableColumn>
  function writeEvent(event: number, user: number, item: number, done: number, step: number): void {
    happened.user![event] = user + 1
    happened.client![event] = client[user] as number
    happened.domain![event] = item < videos ? domains.video : domains.live
    happened.item![event] = item + 1
    happened.author![event] = author[item] as number
    happened.tag![event] = tag[item] as number
    happened.behaviour![event] = done
    wasValuable.values[event] = done >= behaviours.like ? 1 : 0
    ofStep.values[event] = step
  }

  const row = Object.fromEntries(Object.entries(rows.columns).map(([name, { values }]) => [name, values]))
  const why = Object.fromEntries(Object.entries(truth.columns).map(([name, { values }]) => [name, values]))
  function writeRequest(user: number, acts: number): void {
    const first = request[user] as number
    for (let candidate = 0; candidate < candidates; candidate++) {
      const at = user * candidates + candidate
      requests.at(user, candidate)
      const item = videos + requests.int(rooms)
      const { stable, valuable, authorEffect, logit } = judge(user, item)
      const p = sigmoid((intercept[0] as number) + logit)
      const click = requests.uniform() < p ? 1 : 0
      writeEvent(first + candidate, user, item, click ? behaviours.click : behaviours.view, longest)
      row.user![at] = user + 1
      // One moment for a request, so that no split divides it.
      row.time![at] = happened.time![first] as number
      row.client![at] = client[user] as number
      row.userGroup![at] = group[user] as number
      row.item![at] = item + 1
      row.author![at] = author[item] as number
      row.tag![at] = tag[item] as number
      row.click![at] = click
      why.pClick![at] = p
      why.stable![at] = stable
      why.valuable![at] = valuable
      why.authorEffect![at] = authorEffect
      why.acts![at] = acts
    }
  }

  return (begin: number, end: number) => {
    for (let user = begin; user < end; user++) {
      const acts = count(user)
      const firstStep = longest - acts
      const isLive = livePlaces(user)
      for (let index = 0; index < acts; index++) {
        live[index] = isLive(index) ? 1 : 0
        act(user, index, firstStep + index)
      }
      if (knobs.permute) for (const domain of [0, 1]) shuffle(user, acts, domain)
      writeHistory(user, acts)
      for (let index = 0; index < acts; index++) {
        const event = order[(firstAct[user] as number) + index] as number
        writeEvent(event, user, chosen[index] as number, behaviour[index] as number, firstStep + index)
      }
      writeRequest(user, acts)
    }
  }
}

export const histories: Process<Knobs> = { prepare, filler, overridable: ['candidates'] }
