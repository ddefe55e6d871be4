/** A peer in a process of its own: it answers each line that it is sent with one line of JSON. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'

/** OpenMP threads spin so long after their work: whoever runs next would have to share the cores with them. */
export const SPIN_MILLISECONDS = 50

export class PeerServer {
  private readonly child: ChildProcess
  private readonly answers: AsyncIterator<string>

  constructor(
    private readonly command: string,
    args: readonly string[],
    env: NodeJS.ProcessEnv,
  ) {
    this.child = spawn(command, args, { env, stdio: ['pipe', 'pipe', 'inherit'] })
    this.answers = createInterface({ input: this.child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]()
  }

  async ask(line: string): Promise<unknown> {
    this.child.stdin?.write(`${line}\n`)
    const answer = await this.answer()
    await setTimeout(SPIN_MILLISECONDS)
    return answer
  }

  /** The next line, which some peers write before they are asked. */
  async answer(): Promise<unknown> {
    const { value, done } = await this.answers.next()
    if (done) throw new Error(`The peer ${this.command} ended`)
    return JSON.parse(value)
  }

  close(): void {
    this.child.stdin?.end()
  }
}
