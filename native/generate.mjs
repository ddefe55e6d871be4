// Writes the tables that TypeScript and C++ share: `npm run generate`. With `--check`, only says whether they are current.
import { readFileSync, writeFileSync } from 'node:fs'
import { tsImport } from 'tsx/esm/api'

const { kernelTable, elementwiseTable } = await tsImport('../lib/graph/kernelTable.ts', import.meta.url)
const { errorTable } = await tsImport('../lib/core/errors.ts', import.meta.url)

const pascal = (name) => name.replace(/(^|_)([a-z])/gi, (_, __, letter) => letter.toUpperCase())
const attributeTypes = { bool: 0, int: 1, float: 2, string: 3, ints: 4, floats: 5 }
const dtypeBits = { float32: 1, int32: 2, bool: 4 }
const header = (from) => `// Generated from ${from} by \`npm run generate\`; do not edit.\n#pragma once\n`

function kernelTableText() {
  const lines = [header('lib/graph/kernelTable.ts'), '#include <cstdint>', '', 'namespace kairos {', '']
  lines.push('struct AttributeDeclaration {', '  const char* name;', '  uint8_t type;', '  bool optional;', '};', '')
  lines.push(
    'struct KernelDeclaration {',
    '  const char* name;',
    '  int min_inputs, max_inputs, min_outputs, max_outputs;',
  )
  lines.push(
    '  bool in_place;',
    '  bool raises_id_fault;',
    '  int computes;  // result that counts the rows of those before it and of optional ones, or -1',
    '  int attribute_count;',
    '  AttributeDeclaration attributes[8];',
    '};',
    '',
  )
  lines.push('inline constexpr KernelDeclaration kKernelTable[] = {')
  for (const [name, { inputs, outputs, attributes, inPlace, raisesIdFault, computes }] of Object.entries(kernelTable)) {
    const list = Object.entries(attributes).map(
      ([key, type]) => `{"${key.replace('?', '')}", ${attributeTypes[type]}, ${key.endsWith('?')}}`,
    )
    lines.push(
      `    {"${name}", ${inputs[0]}, ${inputs[1]}, ${outputs[0]}, ${outputs[1]}, ${inPlace !== undefined && inPlace !== false}, ${raisesIdFault === true}, ${computes ?? -1}, ${list.length}, {${list.join(', ')}}},`,
    )
  }
  lines.push('};', '', 'enum class ElementwiseOp : int32_t {')
  for (const [name, { opcode }] of Object.entries(elementwiseTable)) lines.push(`  k${pascal(name)} = ${opcode},`)
  lines.push(
    '};',
    '',
    '// `types` has bit 0 for float32, bit 1 for int32, bit 2 for bool; `result` is a dtype, or -1: the same.',
  )
  lines.push(
    'struct ElementwiseDeclaration {',
    '  ElementwiseOp op;',
    '  int operands;',
    '  int types;',
    '  int result;',
    '};',
    '',
  )
  lines.push('inline constexpr ElementwiseDeclaration kElementwiseTable[] = {')
  for (const [name, { operands, types, result }] of Object.entries(elementwiseTable)) {
    const bits = types.reduce((sum, type) => sum | dtypeBits[type], 0)
    const code = { same: -1, float32: 0, int32: 1, bool: 2 }[result]
    lines.push(`    {ElementwiseOp::k${pascal(name)}, ${operands}, ${bits}, ${code}},`)
  }
  lines.push('};', '', '}  // namespace kairos', '')
  return lines.join('\n')
}

function errorCodesText() {
  const codes = Object.keys(errorTable)
  const name = (code) => `k${pascal(code.replace('KAIROS_', '').toLowerCase()).replaceAll('_', '')}`
  return [
    header('lib/core/errors.ts'),
    'namespace kairos {',
    '',
    'enum class ErrorCode {',
    ...codes.map((code) => `  ${name(code)},`),
    '};',
    '',
    'inline const char* NameOf(ErrorCode code) {',
    '  constexpr const char* kNames[] = {',
    ...codes.map((code) => `      "${code}",`),
    '  };',
    '  return kNames[static_cast<int>(code)];',
    '}',
    '',
    '}  // namespace kairos',
    '',
  ].join('\n')
}

function versionText() {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
  return `${header('package.json')}\nnamespace kairos {\n\ninline constexpr char kVersion[] = "${version}";\n\n}  // namespace kairos\n`
}

const targets = {
  'kernel_table.inc': kernelTableText(),
  'error_codes.inc': errorCodesText(),
  'version.inc': versionText(),
}
let stale = 0
for (const [file, text] of Object.entries(targets)) {
  const url = new URL(`runtime/${file}`, import.meta.url)
  let current = ''
  try {
    current = readFileSync(url, 'utf8')
  } catch {}
  if (current === text) continue
  stale++
  if (process.argv.includes('--check')) console.error(`native/runtime/${file} is stale: run \`npm run generate\``)
  else writeFileSync(url, text)
}
process.exit(process.argv.includes('--check') && stale ? 1 : 0)
