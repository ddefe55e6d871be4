export { type AdamOptions, adam } from './adam.js'
export { sgd } from './sgd.js'
