/** The state machine behind `readSequences`: bytes in, ragged rows out. */
import { KairosError } from '../core/errors.js'
import type { Ragged } from '../core/ragged.js'
import { BlockList } from './blockList.js'

/** A ragged table of item ids: row r is the history of `users[r]`, oldest first. Id 0 stands for padding. */
export interface Sequences extends Ragged {
  /** Where the rows came from, for messages. */
  readonly source: string
  /** In the order of the file. */
  readonly users: Int32Array | readonly string[]
  /** Greatest item id; a table of items needs maxItem + 1 rows. */
  readonly maxItem: number
}

export interface SequenceOptions {
  /** 'integer' (the default): users are integers too; 'text': a user is any word. */
  readonly userIds?: 'integer' | 'text'
}

/** Greatest id: one less than the greatest int32, so that a table of `maxItem + 1` rows has an int32 size. */
export const MAX_ID = 2 ** 31 - 2
/** Most items in a file: offsets are int32. */
const MAX_VALUES = 2 ** 31 - 1
/** Bytes of a token that are kept; the longest user name, and what a message can show. */
const TOKEN_BYTES = 256
/** Maps for the search for duplicate users: many small ones, so that none grows in one long step. */
const SHARDS = 1024

const TAB = 9
const LINE_FEED = 10
const CARRIAGE_RETURN = 13
const SPACE = 32
const ZERO = 48
const NINE = 57
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf]

export class SequenceParser {
  readonly #source: string
  readonly #textUsers: boolean
  readonly #decoder = new TextDecoder()

  readonly #values = new BlockList()
  readonly #offsets = new BlockList()
  readonly #users = new BlockList()
  readonly #userNames: string[] = []
  readonly #firstLines: Map<number | string, number>[] = Array.from({ length: SHARDS }, () => new Map())
  #maxItem = 0

  #bytes = 0
  #line = 1
  /** Tokens finished in this line; the user is token 1. */
  #tokens = 0
  #token = new Uint8Array(TOKEN_BYTES)
  #tokenLength = 0
  #number = 0
  #digitsOnly = true
  #afterCarriageReturn = false

  constructor(source: string, { userIds = 'integer' }: SequenceOptions) {
    this.#source = source
    this.#textUsers = userIds === 'text'
    this.#offsets.push(0)
  }

  push(bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) {
      const byte = bytes[i] as number
      const position = this.#bytes++
      if (this.#afterCarriageReturn && byte !== LINE_FEED) {
        throw this.#refuse(`line ${this.#line}`, 'LF or CR LF at the end of a line', 'CR alone')
      }
      if (byte >= ZERO && byte <= NINE) {
        this.#number = this.#number * 10 + byte - ZERO
        this.#keep(byte)
      } else if (byte === SPACE || byte === TAB) {
        this.#endToken()
      } else if (byte === LINE_FEED) {
        this.#endLine()
      } else if (byte === CARRIAGE_RETURN) {
        this.#afterCarriageReturn = true
      } else if (byte < SPACE || byte === 127) {
        throw this.#binary(byte, position)
      } else if (position >= 3 || byte !== BYTE_ORDER_MARK[position] || this.#tokenLength > 0) {
        this.#digitsOnly = false
        this.#keep(byte)
      }
    }
  }

  /** Rows as flat arrays, copied block by block. */
  async finish(pauseWhenDue: () => Promise<void> | undefined): Promise<Sequences> {
    this.#endLine()
    if (this.#offsets.length === 1) {
      throw this.#refuse(
        '',
        'at least one line `user item item ...`',
        this.#bytes === 0 ? 'an empty file' : 'blank lines',
      )
    }
    return {
      source: this.#source,
      users: this.#textUsers ? this.#userNames : await this.#users.flatten(pauseWhenDue),
      values: await this.#values.flatten(pauseWhenDue),
      offsets: await this.#offsets.flatten(pauseWhenDue),
      maxItem: this.#maxItem,
    }
  }

  #keep(byte: number): void {
    if (this.#tokenLength < TOKEN_BYTES) this.#token[this.#tokenLength] = byte
    this.#tokenLength++
  }

  #endToken(): void {
    if (this.#tokenLength === 0) return
    this.#tokens++
    if (this.#tokens === 1) this.#addUser()
    else this.#addItem()
    this.#tokenLength = 0
    this.#number = 0
    this.#digitsOnly = true
  }

  #endLine(): void {
    this.#endToken()
    this.#afterCarriageReturn = false
    if (this.#tokens === 1) {
      const user = this.#textUsers ? this.#userNames.at(-1) : this.#users.last
      throw this.#refuse(`line ${this.#line}`, 'a user and at least one item', `user ${user} without items`)
    }
    if (this.#tokens > 1) this.#offsets.push(this.#values.length)
    this.#tokens = 0
    this.#line++
  }

  #addUser(): void {
    let user: number | string
    if (this.#textUsers) {
      if (this.#tokenLength > TOKEN_BYTES) {
        throw this.#refuse(this.#place, `a user name of at most ${TOKEN_BYTES} bytes`, `${this.#tokenLength} bytes`)
      }
      user = this.#decoder.decode(this.#token.subarray(0, this.#tokenLength))
      this.#userNames.push(user)
    } else {
      user = this.#integer('user', 0)
      this.#users.push(user)
    }
    const shard = this.#firstLines[shardOf(user)] as Map<number | string, number>
    const first = shard.get(user)
    if (first !== undefined) {
      throw this.#refuse(this.#place, 'a user that has no line yet', `user ${user}, whose line is ${first}`)
    }
    shard.set(user, this.#line)
  }

  #addItem(): void {
    const item = this.#integer('item', 1)
    if (this.#values.length === MAX_VALUES) {
      throw this.#refuse(`line ${this.#line}`, `at most ${MAX_VALUES} items in a file`, 'more')
    }
    this.#values.push(item)
    if (item > this.#maxItem) this.#maxItem = item
  }

  #integer(kind: 'user' | 'item', least: number): number {
    if (!this.#digitsOnly || this.#number > MAX_ID || this.#number < least) {
      const padding =
        this.#digitsOnly && this.#number === 0 ? 'Id 0 stands for padding; number items from 1' : undefined
      const hint = kind === 'user' ? "Users may be words with userIds: 'text'" : padding
      const id = kind === 'user' ? 'a user id' : 'an item id'
      throw this.#refuse(this.#place, `${id}, an integer from ${least} to ${MAX_ID}`, this.#shownToken, hint)
    }
    return this.#number
  }

  get #place(): string {
    return `line ${this.#line}, token ${this.#tokens}`
  }

  get #shownToken(): string {
    const shown = 40
    const text = this.#decoder.decode(this.#token.subarray(0, Math.min(this.#tokenLength, shown)))
    return `'${text}${this.#tokenLength > shown ? '...' : ''}'`
  }

  #binary(byte: number, position: number): KairosError {
    const name = byte === 0 ? 'a NUL byte' : `the control byte 0x${byte.toString(16).padStart(2, '0')}`
    const hint = 'The file looks binary or compressed, or is UTF-16; save it as plain text (UTF-8)'
    return this.#refuse(`line ${this.#line}`, 'text', `${name} at byte ${position}`, hint)
  }

  #refuse(place: string, expected: string, got: string, hint?: string): KairosError {
    const argument = place ? `${this.#source}, ${place}` : this.#source
    return new KairosError('KAIROS_DATA', { op: 'readSequences', argument, expected, got, ...(hint && { hint }) })
  }
}

function shardOf(user: number | string): number {
  if (typeof user === 'number') return user % SHARDS
  let hash = 0
  for (let i = 0; i < user.length; i++) hash = (Math.imul(hash, 31) + user.charCodeAt(i)) >>> 0
  return hash % SHARDS
}
