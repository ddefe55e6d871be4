/** Line charts as SVG text. Colours are CSS variables of the page, so that one drawing serves light and dark. */

export interface Series {
  readonly name: string
  /** Points in the order of x; null breaks the line. */
  readonly points: readonly (readonly [x: number, y: number | null])[]
  /** How sure a point is: a line from low to high. */
  readonly intervals?: readonly (readonly [x: number, low: number, high: number])[]
  /** A point to mark, as the best. */
  readonly mark?: { readonly x: number; readonly y: number; readonly label: string }
}

export interface ChartOptions {
  readonly title: string
  readonly xLabel: string
  readonly series: readonly Series[]
}

const WIDTH = 480
const HEIGHT = 260
const MARGIN = { left: 54, right: 16, top: 14, bottom: 38 }
/** Colours that the page has; more series begin again. */
export const COLOURS = 8
/** Points that are drawn singly, each with its value to hover over. */
const DOTS = 60

const escapes: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

/** Text for any place in HTML or SVG, attributes included. */
export const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (character) => escapes[character] ?? '')

/** About `count` round numbers that span the range: multiples of 1, 2 or 5 times a power of ten. */
export function ticks(low: number, high: number, count = 5): number[] {
  const raw = (high - low) / count
  if (!(raw > 0) || !Number.isFinite(raw)) return [low]
  const power = 10 ** Math.floor(Math.log10(raw))
  const step = power * (([1, 2, 5, 10] as const).find((factor) => factor * power >= raw * 0.999) ?? 10)
  const found: number[] = []
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) {
    found.push(Number((i * step).toPrecision(12)))
  }
  return found
}

/** `0.25`, `1,200`, `12k`, `3M`, `1e-7` */
export function formatTick(value: number): string {
  const size = Math.abs(value)
  if (size >= 1e6 && size < 1e9) return `${Number((value / 1e6).toPrecision(4))}M`
  if (size >= 1e4 && size < 1e6) return `${Number((value / 1e3).toPrecision(4))}k`
  if (value !== 0 && (size < 1e-3 || size >= 1e9)) return value.toExponential().replace('e+', 'e')
  return value.toLocaleString('en-US', { maximumFractionDigits: 4 })
}

/** An <svg> as wide as its place, with a text for those who do not see it. */
export function lineChart({ title, xLabel, series }: ChartOptions): string {
  const all = series.flatMap(({ points }) => points.filter(isDrawn))
  const x = scaleOf(
    all.map(([x]) => x),
    MARGIN.left,
    WIDTH - MARGIN.right,
    0,
  )
  const ends = series.flatMap(({ intervals = [] }) => intervals.flatMap(([, low, high]) => [low, high]))
  const y = scaleOf(
    [...all.map(([, y]) => y), ...ends.filter(Number.isFinite)],
    HEIGHT - MARGIN.bottom,
    MARGIN.top,
    0.06,
  )
  const parts = all.length === 0 ? [text(WIDTH / 2, HEIGHT / 2, 'nothing yet', 'middle')] : [...axes(x, y, xLabel)]
  series.forEach((one, index) => {
    parts.push(...drawSeries(one, `var(--series-${(index % COLOURS) + 1})`, x.place, y.place))
  })
  const label = escapeHtml(`${title}: ${series.map(({ name }) => name).join(', ')} over ${xLabel}`)
  return `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${label}">${parts.join('')}</svg>`
}

/** A chart as a file of its own: light, with its legend below. */
export function chartFile(options: ChartOptions): string {
  const { title, series } = options
  const rows = Math.ceil(series.length / 4)
  const whole = lineChart(options)
  const inside = whole.slice(whole.indexOf('>') + 1, -'</svg>'.length)
  const legend = series.map(({ name }, i) => {
    const [x, y] = [MARGIN.left + (i % 4) * 104, HEIGHT + 34 + 16 * Math.floor(i / 4)]
    const key = `<rect x="${x}" y="${y - 6}" width="14" height="3" style="fill:var(--series-${(i % COLOURS) + 1})"/>`
    return `${key}${text(x + 19, y, name, 'start')}`
  })
  const height = HEIGHT + 38 + 16 * rows
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${2 * WIDTH}" height="${2 * height}">` +
    `<style>${FILE_STYLE}</style><rect width="100%" height="100%" style="fill:#fff"/>` +
    `${text(MARGIN.left, 14, title, 'start', 'title')}<g transform="translate(0 14)">${inside}</g>${legend.join('')}</svg>\n`
  )
}

/** The light half of the report's style, for a file that stands alone. */
const FILE_STYLE = `
svg { --series-1: #2563eb; --series-2: #d9730d; --series-3: #0f8a5f; --series-4: #8b3fc7; --series-5: #c2255c;
  --series-6: #0c8599; --series-7: #6b7280; --series-8: #a16207; font: 11.5px system-ui, "Segoe UI", sans-serif }
.line { fill: none; stroke-width: 2; stroke-linejoin: round } .grid { stroke: #e3e6eb } .axis { stroke: #606a79 }
.label { fill: #606a79 } .title { fill: #1b1f26; font-weight: 600 } .mark { fill: #fff } .marked { fill: #1b1f26 }`

interface Scale {
  readonly low: number
  readonly high: number
  place(value: number): number
}

function scaleOf(values: readonly number[], from: number, to: number, margin: number): Scale {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
  for (const value of values) {
    low = Math.min(low, value)
    high = Math.max(high, value)
  }
  // A single value stands in the middle.
  const spread = high > low ? (high - low) * margin : Math.max(Math.abs(high) * 0.1, 1e-6)
  low -= spread
  high += spread
  return { low, high, place: (value) => round(from + ((value - low) / (high - low)) * (to - from)) }
}

function* axes(x: Scale, y: Scale, xLabel: string): Generator<string> {
  const [right, bottom] = [WIDTH - MARGIN.right, HEIGHT - MARGIN.bottom]
  for (const tick of ticks(y.low, y.high)) {
    const at = y.place(tick)
    yield `<line class="grid" x1="${MARGIN.left}" x2="${right}" y1="${at}" y2="${at}"/>`
    yield text(MARGIN.left - 8, at + 4, formatTick(tick), 'end')
  }
  for (const tick of ticks(x.low, x.high)) yield text(x.place(tick), bottom + 18, formatTick(tick), 'middle')
  yield `<line class="axis" x1="${MARGIN.left}" x2="${right}" y1="${bottom}" y2="${bottom}"/>`
  yield text(right, HEIGHT - 4, xLabel, 'end')
}

function* drawSeries(
  { name, points, intervals = [], mark }: Series,
  colour: string,
  placeX: (x: number) => number,
  placeY: (y: number) => number,
): Generator<string> {
  let path = ''
  let pen = false
  for (const point of points) {
    if (isDrawn(point)) path += `${pen ? 'L' : 'M'}${placeX(point[0])} ${placeY(point[1])}`
    pen = isDrawn(point)
  }
  if (path) yield `<path class="line" style="stroke:${colour}" d="${path}"/>`
  for (const [at, low, high] of intervals.filter((ends) => ends.every(Number.isFinite))) {
    const x = placeX(at)
    yield `<line style="stroke:${colour};stroke-opacity:.55" x1="${x}" x2="${x}" y1="${placeY(low)}" y2="${placeY(high)}"/>`
  }
  if (points.length <= DOTS) {
    for (const point of points.filter(isDrawn)) {
      const title = escapeHtml(`${name} ${formatTick(point[1])} at ${formatTick(point[0])}`)
      yield `<circle style="fill:${colour}" cx="${placeX(point[0])}" cy="${placeY(point[1])}" r="2.5"><title>${title}</title></circle>`
    }
  }
  if (mark) {
    const [x, y] = [placeX(mark.x), placeY(mark.y)]
    // Inside the picture, whichever side the point is on.
    const anchor = x > WIDTH * 0.7 ? 'end' : x < WIDTH * 0.3 ? 'start' : 'middle'
    const above = y > MARGIN.top + 14
    yield `<circle class="mark" style="stroke:${colour}" cx="${x}" cy="${y}" r="5"/>`
    yield text(x, above ? y - 11 : y + 20, mark.label, anchor, 'marked')
  }
}

const isDrawn = (point: readonly [number, number | null]): point is readonly [number, number] =>
  Number.isFinite(point[0]) && point[1] !== null && Number.isFinite(point[1])

const round = (value: number): number => Math.round(value * 10) / 10

const text = (x: number, y: number, content: string, anchor: string, kind = 'label'): string =>
  `<text class="${kind}" x="${x}" y="${y}" text-anchor="${anchor}">${escapeHtml(content)}</text>`
