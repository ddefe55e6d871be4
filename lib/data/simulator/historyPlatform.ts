/** What is fixed in 'farm' before the first act: users with two interests, authors, items. */
import type { z } from 'zod'
import { dot, normalise } from './calibration.js'
import { Draws } from './draws.js'
import { domains, type farm, TAGS } from './presets/farm.js'
import { createTable, floatsOf, intsOf, type Table } from './tables.js'

export type Knobs = z.output<(typeof farm)['knobs']>

export function createUsers({ users, dimensions, groups, groupShare, clients, seed, ...knobs }: Knobs): Table {
  const table = createTable(users, {
    group: 'int32',
    client: 'int32',
    phase: 'float32',
    videoOnly: 'int32',
    videoActs: 'int32',
    liveActs: 'int32',
    stableCos: dimensions,
    stableSin: dimensions,
    valuableInterest: dimensions,
  })
  const [cos, sin] = [floatsOf(table, 'stableCos'), floatsOf(table, 'stableSin')]
  const valuable = floatsOf(table, 'valuableInterest')
  const draws = new Draws(seed, 'users')
  const ofGroup = new Draws(seed, 'groups')
  const mix = (out: Float32Array, begin: number, group: number, sub: number) => {
    ofGroup.at(group, sub)
    for (let i = begin; i < begin + dimensions; i++)
      out[i] = Math.sqrt(groupShare) * ofGroup.normal() + Math.sqrt(1 - groupShare) * draws.normal()
    normalise(out, begin, dimensions)
  }
  for (let user = 0; user < users; user++) {
    draws.at(user)
    const group = draws.int(groups)
    const begin = user * dimensions
    const activity = Math.min(1, Math.exp(knobs.activitySpread * (draws.normal() - 1)))
    const inBoth = draws.uniform() < knobs.overlap
    const acts = (most: number) => (knobs.activitySpread === 0 ? most : Math.round(most * activity))
    intsOf(table, 'group')[user] = group + 1
    intsOf(table, 'client')[user] = draws.int(clients) + 1
    floatsOf(table, 'phase')[user] = 2 * Math.PI * draws.uniform()
    intsOf(table, 'videoOnly')[user] = draws.uniform() < knobs.videoOnly ? 1 : 0
    intsOf(table, 'videoActs')[user] = acts(knobs.videoActs)
    intsOf(table, 'liveActs')[user] = inBoth ? acts(knobs.liveActs) : 0
    mix(cos, begin, group, 0)
    mix(sin, begin, group, 1)
    const along = dot(cos, begin, sin, begin, dimensions)
    for (let i = begin; i < begin + dimensions; i++) sin[i] = (sin[i] as number) - along * (cos[i] as number)
    normalise(sin, begin, dimensions)
    for (let i = begin; i < begin + dimensions; i++) valuable[i] = draws.normal()
    normalise(valuable, begin, dimensions)
  }
  return table
}

export function createAuthors({ authors, dimensions, authorSpread, seed }: Knobs): Table {
  const table = createTable(authors, { effect: 'float32', style: dimensions })
  const draws = new Draws(seed, 'authors')
  const style = floatsOf(table, 'style')
  for (let author = 0; author < authors; author++) {
    draws.at(author)
    floatsOf(table, 'effect')[author] = authorSpread * draws.normal()
    for (let i = author * dimensions; i < (author + 1) * dimensions; i++) style[i] = draws.normal()
    normalise(style, author * dimensions, dimensions)
  }
  return table
}

/** Videos first, then rooms; authors have both in turn. */
export function createItems({ videos, rooms, authors, dimensions, style, seed }: Knobs, of: Table): Table {
  const table = createTable(videos + rooms, { domain: 'int32', author: 'int32', tag: 'int32', vector: dimensions })
  const draws = new Draws(seed, 'items')
  const vector = floatsOf(table, 'vector')
  const styles = floatsOf(of, 'style')
  const directions = new Float64Array(TAGS * dimensions)
  draws.at(0, 1).normals(directions, 0, directions.length)
  for (let tag = 0; tag < TAGS; tag++) normalise(directions, tag * dimensions, dimensions)
  for (let item = 0; item < videos + rooms; item++) {
    draws.at(item)
    const begin = item * dimensions
    const isVideo = item < videos
    const author = (isVideo ? item : item - videos) % authors
    for (let i = 0; i < dimensions; i++) {
      const own = draws.normal() / Math.sqrt(dimensions)
      vector[begin + i] = Math.sqrt(style) * (styles[author * dimensions + i] as number) + Math.sqrt(1 - style) * own
    }
    normalise(vector, begin, dimensions)
    let tag = 0
    let nearest = Number.NEGATIVE_INFINITY
    for (let other = 0; other < TAGS; other++) {
      const along = dot(vector, begin, directions, other * dimensions, dimensions)
      if (along > nearest) [tag, nearest] = [other, along]
    }
    intsOf(table, 'domain')[item] = isVideo ? domains.video : domains.live
    intsOf(table, 'author')[item] = author + 1
    intsOf(table, 'tag')[item] = tag + 1
  }
  return table
}
