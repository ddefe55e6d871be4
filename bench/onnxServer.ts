/** ONNX Runtime in a Node of its own, where onnxruntime-node is installed; it is no dependency of ours. */
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { PeerServer } from './peerServer.js'

/** A server of bench/peers/<name>.mjs; null, with a line that says so, where there is no ONNX Runtime. */
export function openOnnxServer(name: string, args: readonly string[]): PeerServer | null {
  try {
    createRequire(import.meta.url).resolve('onnxruntime-node')
  } catch {
    console.log('bench: ONNX Runtime is skipped; `npm i --no-save --ignore-scripts onnxruntime-node` brings it')
    return null
  }
  const script = fileURLToPath(new URL(`peers/${name}.mjs`, import.meta.url))
  return new PeerServer(process.execPath, [script, ...args], process.env)
}
