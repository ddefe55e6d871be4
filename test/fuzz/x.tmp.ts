import { corpus, trainingProgram } from './corpus.js'
import { decode, encode } from './fileFormat.js'
const t = performance.now()
console.log(trainingProgram().length)
const c = corpus()
console.log(c.length, Math.max(...c.map(x => x.length)), performance.now() - t)
for (const b of c) { const { file, fields } = decode(b); const again = encode(file); if (Buffer.compare(b, again)) console.log('differs', fields.length) }
