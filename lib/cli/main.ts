#!/usr/bin/env node
import { runCli } from './run.js'

// The exit code is set, not forced: output that is still on its way to a pipe is written, and the native threads end.
process.exitCode = await runCli(process.argv.slice(2))
