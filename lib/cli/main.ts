#!/usr/bin/env node
import { runCli } from './run.js'

// A reader that has seen enough (`kairos explain ... | head`) ends the command without a complaint.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
  process.exit()
})

// The exit code is set, not forced: output that is still on its way to a pipe is written, and the native threads end.
process.exitCode = await runCli(process.argv.slice(2))
