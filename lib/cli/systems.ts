import { systems as known } from '../systems/index.js'
import { formatTable } from '../train/table.js'

export const systems = {
  meta: { name: 'systems', description: 'Lists the systems that can be trained' },
  args: {},
  run() {
    process.stdout.write(
      `${formatTable(
        ['system', 'what it is'],
        Object.values(known).map(({ name, summary }) => [name, summary]),
      )}\n`,
    )
  },
}
