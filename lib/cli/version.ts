import { readFileSync } from 'node:fs'

/** Of this package. Found from lib/cli and from dist/cli alike. */
export const version: string = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version
