/** Worker threads of ours, from source as from the compiled package. */
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'

/**
 * Starts `./<file>.js` beside the module at `from`. Beside compiled JavaScript stands the compiled thread; from source
 * both are TypeScript, which a thread loads by tsx.
 */
export function startWorker(from: string, file: string, options: { name: string; workerData?: unknown }): Worker {
  // Not the flags of this process: a loader or a test runner among them has no business there.
  const all = { ...options, execArgv: [] }
  if (!from.endsWith('.ts')) return new Worker(new URL(`./${file}.js`, from), all)
  // `import.meta.resolve` is absent under vitest; `require` finds the CommonJS twin of the file we need.
  const tsx = pathToFileURL(
    createRequire(import.meta.url)
      .resolve('tsx/esm/api')
      .replace(/\.cjs$/, '.mjs'),
  ).href
  const entry = new URL(`./${file}.ts`, from).href
  return new Worker(`import('${tsx}').then(({ register }) => (register(), import('${entry}')))`, { ...all, eval: true })
}
