// Child processes and the few words that set-up prints about them.
import { spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** Ends set-up with a sentence for the person at the keyboard; anything else that is thrown is a fault of ours. */
export class Stop extends Error {}

/**
 * The first of these commands that PATH holds.
 * @param {...string} names
 */
export function onPath(...names) {
  const folders = (process.env.PATH ?? '').split(delimiter).filter(Boolean)
  return names.find((name) =>
    folders.some((folder) => {
      try {
        accessSync(join(folder, name), constants.X_OK)
        return true
      } catch {
        return false
      }
    }),
  )
}

/**
 * Runs a command in the repository's root with its output shown, and answers its exit code.
 * @param {readonly string[]} command
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {Promise<number>}
 */
export function show([program = '', ...args], env = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: root, env: { ...process.env, ...env }, stdio: 'inherit' })
    child.on('error', reject)
    child.on('close', (code) => resolve(code ?? 1))
  })
}

/**
 * Runs a command with its output kept back: the caller gets all of it, or the end of it inside the error.
 * @param {readonly string[]} command
 * @param {{ env?: NodeJS.ProcessEnv, cwd?: string, lines?: number }} [options]
 * @returns {Promise<string>}
 */
export function capture([program = '', ...args], { env = {}, cwd = root, lines = 40 } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    child.stdout.on('data', (chunk) => {
      output += chunk
    })
    child.stderr.on('data', (chunk) => {
      output += chunk
    })
    child.on('error', reject)
    child.on('close', (code) => {
      if (code === 0) return resolve(output)
      const tail = output.trimEnd().split('\n').slice(-lines).join('\n')
      reject(new Stop(`${tail}\n\n\`${[program, ...args].join(' ')}\` ended with code ${code}.`))
    })
  })
}

/** @param {number} since */
export const elapsed = (since) => `${((performance.now() - since) / 1000).toFixed(1)} s`

/**
 * One line of progress: what happens, then how long it took.
 * @template T
 * @param {string} title
 * @param {() => T | Promise<T>} work
 */
export async function step(title, work) {
  const start = performance.now()
  process.stdout.write(`  ${title} ... `)
  try {
    const result = await work()
    process.stdout.write(`${elapsed(start)}\n`)
    return result
  } catch (error) {
    process.stdout.write(`failed after ${elapsed(start)}\n\n`)
    throw error
  }
}
