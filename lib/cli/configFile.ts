/** Options from a file: YAML, or JSON, which is YAML too. Flags on the command line count more. */
import { readFile } from 'node:fs/promises'
import { parseDocument } from 'yaml'
import { UsageError } from './usage.js'

/** 'batch-size' -> 'batchSize', so that a file may be written either way. */
const optionOf = (key: string): string => key.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())

/** The options that a file holds. Throws UsageError with line and column where it is no YAML, or no object. */
export async function readConfigFile(command: string, path: string): Promise<Record<string, unknown>> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    throw new UsageError(`kairos ${command}: --config ${path}: ${(error as Error).message}.`)
  }
  const document = parseDocument(text, { prettyErrors: true })
  const [problem] = document.errors
  if (problem) throw new UsageError(`kairos ${command}: --config ${path}: ${problem.message.trim()}`)
  const value: unknown = document.toJS()
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new UsageError(`kairos ${command}: --config ${path} should hold options by name, such as 'epochs: 20'.`)
  }
  const options: Record<string, unknown> = {}
  for (const [key, option] of Object.entries(value)) {
    const name = optionOf(key)
    if (name in options) throw new UsageError(`kairos ${command}: --config ${path} has '${name}' twice.`)
    options[name] = option
  }
  return options
}
