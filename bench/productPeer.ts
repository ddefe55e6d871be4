/** oneDNN's packed product beside us, in a process of its own: bench/peers/products.cc, compiled when asked for. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { describe } from '../lib/runtime/index.js'

/** Flops of one run of `peak`, per thread. */
const PEAK_FLOPS = 2 ** 22
/** Its threads stop spinning before ours begin. */
const CALM = 5

export class ProductPeer {
  private constructor(
    private readonly child: ChildProcess,
    private readonly folder: string,
    private readonly threads: number,
    private readonly answers: AsyncIterator<string>,
  ) {}

  /** Null where a compiler or oneDNN is missing. */
  static start(threads: number): ProductPeer | null {
    const folder = mkdtempSync(join(tmpdir(), 'kairos-peer-'))
    const program = join(folder, 'products')
    const source = fileURLToPath(new URL('peers/products.cc', import.meta.url))
    const wide = describe().cpu.variants.at(-1) === 'avx512'
    const flags = wide ? ['-march=native', '-mprefer-vector-width=512', '-DLANES=16'] : ['-mavx2', '-mfma', '-DLANES=8']
    try {
      execFileSync('c++', ['-O3', '-std=c++20', '-fopenmp', ...flags, source, '-o', program, '-ldnnl'], {
        stdio: 'ignore',
      })
    } catch {
      rmSync(folder, { recursive: true })
      return null
    }
    const child = spawn(program, {
      env: {
        ...process.env,
        OMP_NUM_THREADS: `${threads}`,
        GOMP_SPINCOUNT: '100000',
        ...(wide ? {} : { DNNL_MAX_CPU_ISA: 'AVX2' }),
      },
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const answers = createInterface({ input: child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]()
    return new ProductPeer(child, folder, threads, answers)
  }

  /** Milliseconds of some runs of c[M, N] = a[M, K] b[K, N], b packed beforehand. */
  packed(m: number, k: number, n: number, count: number): Promise<number[]> {
    return this.ask(`packed ${m} ${k} ${n} ${count}`)
  }

  /** The most flops that the threads do in a millisecond. */
  async peak(): Promise<number> {
    return (PEAK_FLOPS * this.threads) / Math.min(...(await this.ask('peak 200')))
  }

  private async ask(line: string): Promise<number[]> {
    this.child.stdin?.write(`${line}\n`)
    const { value, done } = await this.answers.next()
    if (done) throw new Error('The peer of products ended')
    await new Promise((resolve) => setTimeout(resolve, CALM))
    return JSON.parse(value)
  }

  close(): void {
    this.child.stdin?.end()
    rmSync(this.folder, { recursive: true })
  }
}
