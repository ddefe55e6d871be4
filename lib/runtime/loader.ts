/** Finds and loads the native addon, or says what was tried, what was found and what to type. */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { KairosError } from '../core/errors.js'
import type { Addon } from './addon.js'

const require = createRequire(import.meta.url)
const platformPackage = `@kairos-rec/${process.platform}-${process.arch}`
// The same from lib/runtime and from dist/runtime.
const localBuild = fileURLToPath(new URL('../../build/Release/kairos.node', import.meta.url))

let loaded: Addon | undefined

/** The addon, loaded by the first call. Throws KAIROS_NATIVE_LOAD. */
export function loadAddon(): Addon {
  loaded ??= tryAll(process.env.KAIROS_ADDON ? [process.env.KAIROS_ADDON] : [platformPackage, localBuild])
  return loaded
}

function tryAll(candidates: readonly string[]): Addon {
  const failures: string[] = []
  for (const candidate of candidates) {
    try {
      return require(candidate) as Addon
    } catch (error) {
      failures.push(`${candidate}: ${reasonOf(candidate, error)}`)
    }
  }
  throw new KairosError('KAIROS_NATIVE_LOAD', {
    op: 'load',
    argument: 'the native addon',
    expected: `one of ${candidates.length} places to hold it for Node-API 9 on ${process.platform}-${process.arch}`,
    got: failures.join('; '),
    hint: 'Build it with: npm run build:native',
  })
}

function reasonOf(candidate: string, error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'MODULE_NOT_FOUND') return candidate === platformPackage ? 'package not installed' : 'no such file'
  if (candidate !== platformPackage && !existsSync(candidate)) return 'no such file'
  // "was compiled against a different Node.js version" or "Module did not self-register"
  if (/NODE_MODULE_VERSION|self-register/.test(message)) return `made for another Node: ${firstLine(message)}`
  return firstLine(message)
}

const firstLine = (text: string): string => text.split('\n', 1)[0] as string
