/** The `kairos` command without its process: words in, exit code out. */
import { stripVTControlCharacters } from 'node:util'
import { type ArgsDef, type CommandDef, renderUsage, runCommand } from 'citty'
import { isKairosError } from '../core/errors.js'
import { Interrupted } from '../train/interrupt.js'
import { demo } from './demo.js'
import { doctor } from './doctor.js'
import { evaluate } from './evaluate.js'
import { explain } from './explain.js'
import { predict } from './predict.js'
import { prove } from './prove.js'
import { simulate } from './simulate.js'
import { systems } from './systems.js'
import { train } from './train.js'
import { checkArguments, type FlagDefinition, nearest, UsageError } from './usage.js'
import { version } from './version.js'

// Citty's own types tie a command to its flags; here they are a list.
const commands: Record<string, CommandDef<ArgsDef>> = {
  train,
  evaluate,
  predict,
  explain,
  simulate,
  prove,
  demo,
  systems,
  doctor,
}

const kairos: CommandDef<ArgsDef> = {
  meta: { name: 'kairos', version, description: 'Trains and serves industrial ranking models' },
  subCommands: commands,
}

/** 0: done; 1: it failed; 2: the command line is wrong. */
export async function runCli(args: readonly string[]): Promise<number> {
  try {
    const [name = '--help', ...rest] = args
    if (name === '--help' || name === '-h' || name === 'help') return await showHelp(rest[0])
    if (name === '--version' || name === '-v') return print(version)
    const command = commandNamed(name)
    if (rest.includes('--help') || rest.includes('-h')) return await showHelp(name)
    const definitions = command.args as Record<string, FlagDefinition>
    await runCommand(command, { rawArgs: checkArguments(name, rest, definitions) })
    return 0
  } catch (error) {
    return report(error)
  }
}

function commandNamed(name: string): CommandDef<ArgsDef> {
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined
  if (command) return command
  const near = nearest(name, Object.keys(commands))
  throw new UsageError(
    near
      ? `kairos: '${name}' should be '${near}'.`
      : `kairos: unknown command '${name}'. The commands are ${Object.keys(commands).join(', ')}.`,
  )
}

async function showHelp(name: string | undefined): Promise<number> {
  const command = name === undefined ? kairos : commandNamed(name)
  const padded = await renderUsage(command, name === undefined ? undefined : kairos)
  const text = padded.replaceAll(/ +$/gm, '')
  return print(process.stdout.isTTY ? text : stripVTControlCharacters(text))
}

function print(text: string): number {
  process.stdout.write(`${text}\n`)
  return 0
}

function report(error: unknown): number {
  if (error instanceof Interrupted) {
    process.stderr.write(`${error.message}\n`)
    return Number(process.exitCode)
  }
  const debug = process.env.KAIROS_DEBUG === '1'
  if (error instanceof UsageError) {
    process.stderr.write(`${error.message}\n`)
    return 2
  }
  if (isKairosError(error)) {
    process.stderr.write(debug ? `${error.stack}\n` : `${error.message}\n`)
    return 1
  }
  // Not ours, so a fault in Kairos or below: the stack is what a report needs.
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`)
  return 1
}
