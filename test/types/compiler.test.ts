/**
 * What the compiler says of shapes that do not fit is public API: fixtures hold wrong calls with the text that must
 * appear on that very line, and calls whose cost for the compiler is pinned.
 *
 *     // @expect: Type '65' is not assignable to type '64'.     one error, on the next line, with that text
 *     // @budget: 1200                                          type instantiations of the file, plus a tenth
 */
import { readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'

const folder = join(dirname(fileURLToPath(import.meta.url)), 'fixtures')
const filesIn = (path: string) =>
  readdirSync(path)
    .filter((name) => name.endsWith('.ts'))
    .sort()
    .map((name) => join(path, name))
const fixtures = filesIn(folder)
const budgets = filesIn(join(folder, 'budget'))

const { config } = ts.readConfigFile(join(folder, '../../../tsconfig.json'), ts.sys.readFile)
const { options } = ts.parseJsonConfigFileContent(config, ts.sys, join(folder, '../../..'))
const { rootDir: _, ...shared } = options
const program = ts.createProgram([...budgets, ...fixtures], { ...shared, noEmit: true })

const textOf = (path: string) => (program.getSourceFile(path) as ts.SourceFile).text
const nameOf = (path: string) => path.slice(folder.length + 1)

interface Problem {
  readonly line: number
  readonly text: string
}

function problemsOf(path: string): Problem[] {
  const source = program.getSourceFile(path) as ts.SourceFile
  const found = [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)]
  return found.map(({ start = 0, messageText }) => ({
    line: source.getLineAndCharacterOfPosition(start).line,
    text: ts.flattenDiagnosticMessageText(messageText, '\n'),
  }))
}

/** Budgets come first and in a fixed order: what one file resolves, the next finds resolved. */
const measured = budgets.map((path) => {
  const before = program.getInstantiationCount()
  const problems = problemsOf(path)
  return { path, problems, cost: program.getInstantiationCount() - before }
})

describe.each(fixtures.map((path) => [nameOf(path), path] as const))('%s', (_, path) => {
  const problems = problemsOf(path)
  const expected = textOf(path)
    .split('\n')
    .flatMap((line, index) => (line.startsWith('// @expect: ') ? [{ line: index + 1, text: line.slice(12) }] : []))

  it.each(expected.map(({ line, text }) => [`${line + 1}: ${text}`, line, text] as const))('%s', (_, line, text) => {
    const here = problems.filter((problem) => problem.line === line)
    expect(here).toHaveLength(1)
    expect(here[0]?.text).toContain(text)
  })

  it('has no other errors', () => {
    expect(problems.filter(({ line }) => !expected.some((one) => one.line === line))).toEqual([])
  })
})

describe('the cost of types', () => {
  it.each(measured.map(({ path, problems, cost }) => [nameOf(path), path, problems, cost] as const))(
    '%s stays within its budget',
    (_, path, problems, cost) => {
      expect(problems).toEqual([])
      const pinned = Number(/^\/\/ @budget: (\d+)/.exec(textOf(path))?.[1])
      expect(cost, 'instantiations').toBeLessThanOrEqual(pinned * 1.1)
      expect(cost, 'instantiations: far below its budget, so pin the new value').toBeGreaterThan(pinned * 0.5)
    },
  )
})
