/** Parameters that were trained elsewhere: a PyTorch state dict, saved as safetensors, read by name. */
import { KairosError } from '../core/errors.js'
import { parametersFor, stateFor } from '../graph/stores.js'
import { stackedNames } from '../nn/index.js'
import type { Entry, NativeArray, ParameterSet, State, Store } from '../runtime/index.js'
import { dtypeWhenRead, TensorFile } from './safetensors.js'
import type { FileTensor } from './safetensorsHeader.js'
import { writeRanges } from './storeRanges.js'

export interface ImportOptions {
  /** Where the values go. Default: the sets that programs over this model use. */
  readonly parameters?: ParameterSet
  readonly state?: State
  /** A name of the file as the model has it; null passes it over. Default: the same name. */
  readonly rename?: Readonly<Record<string, string | null>> | ((name: string) => string | null)
  /** Names of the model whose matrix stands the other way round in the file. */
  readonly transpose?: readonly string[] | ((name: string) => boolean)
  /** Refuse, changing nothing, unless everything fits. Default: true. */
  readonly strict?: boolean
}

export interface ImportReport {
  /** Names of the model that got their values. */
  readonly loaded: readonly string[]
  /** Names of the model that the file lacks. */
  readonly missing: readonly string[]
  /** Names of the file that the model lacks. */
  readonly unexpected: readonly string[]
  readonly mismatched: readonly { readonly name: string; readonly expected: string; readonly got: string }[]
}

/** What a tensor of the file fills: an entry of a store, or of a stacked one the layer that begins at an element. */
interface Place {
  readonly name: string
  readonly entry: Entry
  readonly store: Store
  readonly shape: readonly number[]
  readonly begin: number
}

interface Match {
  readonly place: Place
  readonly tensor: FileTensor
  readonly transposed: boolean
}

/**
 * Copies the tensors of a safetensors file into a model's parameters and state, by name. 64- and 16-bit floats become
 * float32, 64-bit integers int32.
 *
 * A stacked parameter may stand in the file as a whole, `experts.0.weight`, or layer by layer, as models of one module
 * per expert have it: `experts.0.0.weight`, `experts.1.0.weight` (`stackedNames` lists these names).
 *
 * Throws KAIROS_DATA for a malformed file; KAIROS_SHAPE with the whole list when `strict` and something does not fit.
 */
export async function importStateDict(model: object, path: string, options: ImportOptions = {}): Promise<ImportReport> {
  const { strict = true } = options
  const file = await TensorFile.open(path)
  try {
    const { matches, report } = match(model, file, options)
    const misfits = report.missing.length + report.unexpected.length + report.mismatched.length
    if (strict && misfits > 0) {
      throw new KairosError('KAIROS_SHAPE', {
        op: 'importStateDict',
        argument: path,
        expected: 'a state dict of this model',
        got: `one with ${misfits} misfits\n${formatImport(report)}\n`,
        hint: 'Rename or transpose what differs, or pass strict: false to take what fits',
      })
    }
    // A value out of range must be met before the first is written.
    for (const { tensor } of matches) if (NARROWED.has(tensor.dtype)) await file.read(tensor.name)
    for (const one of matches) await load(file, one)
    return report
  } finally {
    await file.close()
  }
}

/** File types whose values may be refused when they are read. */
const NARROWED: ReadonlySet<string> = new Set(['F64', 'I64', 'BOOL'])

/** The report as lines for people: what did not match, with the shapes. */
export function formatImport({ loaded, missing, unexpected, mismatched }: ImportReport): string {
  const lines = [
    `  loaded: ${loaded.length}`,
    ...missing.map((name) => `  missing in the file: ${name}`),
    ...unexpected.map((name) => `  unexpected in the file: ${name}`),
    ...mismatched.map(({ name, expected, got }) => `  mismatch: ${name} is ${expected}, the file has ${got}`),
  ]
  return lines.join('\n')
}

function match(model: object, file: TensorFile, options: ImportOptions) {
  const { parameters = parametersFor(model), state = stateFor(model), rename, transpose = [] } = options
  const wholes = [parameters, state].flatMap((store) => store.entries.map((entry) => wholeOf(entry, store)))
  const stacked = stackedNames(model)
  const layers = new Map(wholes.map((whole) => [whole.name, layersOf(whole, stacked.get(whole.name) ?? [])]))
  const places = new Map([...[...layers.values()].flat(), ...wholes].map((place) => [place.name, place]))
  const renamed = (name: string) => {
    if (typeof rename === 'function') return rename(name)
    return rename && Object.hasOwn(rename, name) ? (rename[name] as string | null) : name
  }
  const isTransposed = (name: string) => (typeof transpose === 'function' ? transpose(name) : transpose.includes(name))

  const matches: Match[] = []
  const unexpected: string[] = []
  const mismatched: { name: string; expected: string; got: string }[] = []
  const taken = new Map<string, string>()
  for (const tensor of file.tensors.values()) {
    const name = renamed(tensor.name)
    if (name === null) continue
    const place = places.get(name)
    if (!place) {
      unexpected.push(name === tensor.name ? name : `${tensor.name} (as ${name})`)
      continue
    }
    const { entry } = place
    // Either the whole or its layers.
    const others = place.shape === entry.shape ? (layers.get(name) as readonly Place[]) : [entry]
    const earlier = [place, ...others].map((other) => taken.get(other.name)).find((given) => given !== undefined)
    if (earlier !== undefined) {
      throw new KairosError('KAIROS_DUPLICATE', {
        op: 'importStateDict',
        argument: `rename('${tensor.name}')`,
        expected: 'a name of its own',
        got: `'${name}', which '${earlier}' has`,
      })
    }
    taken.set(name, tensor.name)
    const transposed = (isTransposed(name) || isTransposed(entry.name)) && tensor.shape.length === 2
    const shape = transposed ? tensor.shape.toReversed() : tensor.shape
    const expected = describe(entry.dtype, place.shape)
    const got = describe(dtypeWhenRead[tensor.dtype], shape)
    if (expected === got) matches.push({ place, tensor, transposed })
    else mismatched.push({ name, expected, got: transposed ? `${got} when transposed` : got })
  }
  const missing = wholes.flatMap(({ name }) => {
    const all = layers.get(name) as readonly Place[]
    const lacking = all.filter((layer) => !taken.has(layer.name))
    if (taken.has(name)) return []
    return lacking.length < all.length ? lacking.map((layer) => layer.name) : [name]
  })
  const report: ImportReport = {
    loaded: [...new Set(matches.map(({ place }) => place.entry.name))],
    missing,
    unexpected,
    mismatched,
  }
  return { matches, report }
}

const wholeOf = (entry: Entry, store: Store): Place => ({
  name: entry.name,
  entry,
  store,
  shape: entry.shape,
  begin: 0,
})

const layersOf = ({ entry, store }: Place, names: readonly string[]): readonly Place[] => {
  const shape = entry.shape.slice(1)
  return names.map((name, index) => ({ name, entry, store, shape, begin: index * sizeOf(shape) }))
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((product, dim) => product * dim, 1)

const describe = (dtype: string, shape: readonly number[]): string => `${dtype} [${shape.join(', ')}]`

async function load(file: TensorFile, { place, tensor, transposed }: Match): Promise<void> {
  if (!transposed) {
    await writeRanges(
      place.store,
      { ...place.entry, shape: place.shape },
      (begin, end) => file.readRange(tensor.name, begin, end),
      { at: place.begin },
    )
    return
  }
  const values = await file.read(tensor.name)
  const [rows = 0, columns = 0] = place.shape
  await writeRanges(
    place.store,
    { ...place.entry, shape: place.shape },
    async (begin, end) => {
      const piece: NativeArray = values.slice(0, end - begin)
      for (let i = begin; i < end; i++) {
        const [row, column] = [Math.floor(i / columns), i % columns]
        piece[i - begin] = values[column * rows + row] as number
      }
      return piece
    },
    { at: place.begin },
  )
}
