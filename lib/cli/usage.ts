/** What is wrong with a command line, said before anything starts. */
import { nearest } from '../core/nearest.js'

export { editDistance, nearest } from '../core/nearest.js'

/** A mistake in how a command was typed: exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** The part of citty's argument definitions that checks need. */
export interface FlagDefinition {
  readonly type: 'string' | 'enum' | 'boolean' | 'positional'
}

/** Flags that every command knows. */
const BUILT_IN = ['help', 'version']

/**
 * Checks the words after a command's name against its definitions, and writes every value as `--flag=value`, so that a
 * value that starts with a dash stays a value.
 */
export function checkArguments(
  command: string,
  args: readonly string[],
  definitions: Readonly<Record<string, FlagDefinition>>,
): string[] {
  const flags = Object.keys(definitions).filter((name) => definitions[name]?.type !== 'positional')
  const places = Object.keys(definitions).length - flags.length
  const seen = new Set<string>()
  const words: string[] = []
  const checked: string[] = []
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] as string
    if (!arg.startsWith('-') || arg === '-') {
      words.push(arg)
      if (words.length > places) {
        const hint = definitions[arg] ? `: write --${arg}` : ''
        throw new UsageError(`kairos ${command}: '${arg}' is one word too many${hint}.`)
      }
      checked.push(arg)
      continue
    }
    const equals = arg.indexOf('=')
    const typed = equals < 0 ? arg : arg.slice(0, equals)
    const name = typed.slice(2)
    const definition = typed.startsWith('--') ? definitions[name] : undefined
    if (!definition || definition.type === 'positional') throw unknownFlag(command, typed, [...flags, ...BUILT_IN])
    if (seen.has(name)) throw new UsageError(`kairos ${command}: ${typed} is given twice.`)
    seen.add(name)
    if (definition.type === 'boolean') {
      if (equals >= 0) throw new UsageError(`kairos ${command}: ${typed} takes no value.`)
      checked.push(arg)
      continue
    }
    const next = args[i + 1]
    const value = equals >= 0 ? arg.slice(equals + 1) : next?.startsWith('--') ? undefined : next
    if (value === undefined || value === '') throw new UsageError(`kairos ${command}: ${typed} needs a value.`)
    if (equals < 0) i++
    checked.push(`${typed}=${value}`)
  }
  return checked
}

function unknownFlag(command: string, typed: string, flags: readonly string[]): UsageError {
  const near = nearest(typed.replace(/^-+/, ''), flags)
  const help = `\`kairos ${command} --help\` lists the flags`
  return new UsageError(
    near
      ? `kairos ${command}: '${typed}' should be '--${near}'.`
      : `kairos ${command}: unknown flag '${typed}'. ${help}.`,
  )
}
