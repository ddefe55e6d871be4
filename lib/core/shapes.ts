/**
 * Shapes in types: what the editor knows about a shape, and the sentence it shows when shapes do not fit.
 *
 * A dim that widened to `number` or `string` is open: types let it pass and tracing checks it. A rule that computes
 * gives a shape or a `ShapeError`; intersect `Check<...>` with the argument to blame, so that the red line sits there.
 */
import type { Dim, Shape } from './dim.js'

/** Stands in for an argument that cannot fit; the text is what the editor shows. */
export interface ShapeError<Text extends string> {
  readonly shapeError: Text
}

/** `unknown` vanishes from an intersection; an error stays. */
export type Check<R> = R extends ShapeError<string> ? R : unknown

/** The computed shape, or an open one after an error or for open operands: one mistake, one message. */
export type OrOpen<R> = R extends Shape ? R : Shape

/** True when nothing is known of the rank. */
export type IsOpen<S extends Shape> = number extends S['length'] ? true : false

/** True unless both dims are known and differ. */
export type SameDim<X extends Dim, Y extends Dim> = number extends X | Y
  ? true
  : string extends X | Y
    ? true
    : [X, Y] extends [Y, X]
      ? true
      : false

/** A text of its own, so that the editor shows the sentence and not this name. */
type Outside<
  Op extends string,
  S extends Shape,
  A extends number,
> = `${Op}: axis ${A} is outside a shape of rank ${S['length']}`

type CutLeft<
  Op extends string,
  All extends Shape,
  A extends number,
  Before extends Shape,
  S extends Shape,
> = Before['length'] extends A
  ? [Before, S]
  : S extends readonly [infer Head extends Dim, ...infer Tail extends Shape]
    ? CutLeft<Op, All, A, readonly [...Before, Head], Tail>
    : ShapeError<Outside<Op, All, A>>

type CutRight<
  Op extends string,
  All extends Shape,
  N extends number,
  S extends Shape,
  After extends Shape,
> = After['length'] extends N
  ? [S, After]
  : S extends readonly [...infer Init extends Shape, infer Last extends Dim]
    ? CutRight<Op, All, N, Init, readonly [Last, ...After]>
    : ShapeError<`${Op}: axis -${N} is outside a shape of rank ${All['length']}`>

/** `[dims before the axis, dims from it on]`; a negative axis counts from the end. Open when the rank or axis is. */
export type Cut<Op extends string, S extends Shape, A extends number> =
  IsOpen<S> extends true
    ? [Shape, Shape]
    : number extends A
      ? [Shape, Shape]
      : `${A}` extends `-${infer N extends number}`
        ? CutRight<Op, S, N, S, readonly []>
        : CutLeft<Op, S, A, readonly [], S>

/** The shape without axes [A, A + Count). */
export type Without<Op extends string, S extends Shape, A extends number, Count extends number = 1> =
  Cut<Op, S, A> extends infer C
    ? C extends [infer Before extends Shape, infer From extends Shape]
      ? Cut<Op, From, Count> extends infer Rest
        ? Rest extends [Shape, infer After extends Shape]
          ? IsOpen<S> extends true
            ? Shape
            : number extends A | Count
              ? Shape
              : readonly [...Before, ...After]
          : ShapeError<Outside<Op, S, A>>
        : never
      : C
    : never

/** The shape with dims inserted before axis A, which may be the rank. */
export type Inserted<Op extends string, S extends Shape, A extends number, Dims extends Shape> =
  Cut<Op, S, A> extends infer C
    ? C extends [infer Before extends Shape, infer From extends Shape]
      ? IsOpen<S> extends true
        ? Shape
        : number extends A
          ? Shape
          : readonly [...Before, ...Dims, ...From]
      : C
    : never

/** The shape with axis A replaced by dims. */
export type Replaced<
  Op extends string,
  S extends Shape,
  A extends number,
  Dims extends Shape,
  Count extends number = 1,
> =
  Cut<Op, S, A> extends infer C
    ? C extends [infer Before extends Shape, infer From extends Shape]
      ? IsOpen<S> extends true
        ? Shape
        : number extends A | Count
          ? Shape
          : Cut<Op, From, Count> extends [Shape, infer After extends Shape]
            ? From extends readonly []
              ? ShapeError<Outside<Op, S, A>>
              : readonly [...Before, ...Dims, ...After]
            : ShapeError<Outside<Op, S, A>>
      : C
    : never

/** Dims in the order of a permutation of axes. */
export type Permuted<S extends Shape, P extends readonly number[]> =
  IsOpen<S> extends true
    ? Shape
    : number extends P['length']
      ? Shape
      : P['length'] extends S['length']
        ? { readonly [K in keyof P]: S[P[K] & keyof S] & Dim }
        : ShapeError<`transpose: a permutation of ${P['length']} axes does not fit a shape of rank ${S['length']}`>

/** `true` when T is how S ends; else the sentence. */
export type EndsWith<Op extends string, S extends Shape, T extends Shape> =
  IsOpen<S> extends true
    ? true
    : T extends readonly [...infer TInit extends Shape, infer TLast extends Dim]
      ? S extends readonly [...infer SInit extends Shape, infer SLast extends Dim]
        ? SameDim<SLast, TLast> extends true
          ? EndsWith<Op, SInit, TInit>
          : ShapeError<`${Op}: the target ends with ${SLast} where the operand has ${TLast}`>
        : ShapeError<`${Op}: the target has fewer axes than the operand`>
      : true

// Concatenation ----------------------------------------------------------------------------------------------------

type Digit = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9

/** Row x, column y: x + y. The last row is for 9 and a carry. */
// biome-ignore format: a table
type Sums = [
  ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'],
  ['1', '2', '3', '4', '5', '6', '7', '8', '9', '10'],
  ['2', '3', '4', '5', '6', '7', '8', '9', '10', '11'],
  ['3', '4', '5', '6', '7', '8', '9', '10', '11', '12'],
  ['4', '5', '6', '7', '8', '9', '10', '11', '12', '13'],
  ['5', '6', '7', '8', '9', '10', '11', '12', '13', '14'],
  ['6', '7', '8', '9', '10', '11', '12', '13', '14', '15'],
  ['7', '8', '9', '10', '11', '12', '13', '14', '15', '16'],
  ['8', '9', '10', '11', '12', '13', '14', '15', '16', '17'],
  ['9', '10', '11', '12', '13', '14', '15', '16', '17', '18'],
  ['10', '11', '12', '13', '14', '15', '16', '17', '18', '19'],
]
type Successor = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]

type Reverse<Text extends string, Out extends string = ''> = Text extends `${infer Head}${infer Tail}`
  ? Reverse<Tail, `${Head}${Out}`>
  : Out

/** Digits from the last to the first, as on paper: counting with tuples would stop near a thousand. */
type AddDigits<
  X extends string,
  Y extends string,
  Carry extends 0 | 1 = 0,
  Out extends string = '',
> = X extends `${infer DX extends Digit}${infer RX}`
  ? Y extends `${infer DY extends Digit}${infer RY}`
    ? PutDigit<Sums[Carry extends 1 ? Successor[DX] : DX][DY], RX, RY, Out>
    : Carry extends 1
      ? AddDigits<X, '1', 0, Out>
      : `${Reverse<X>}${Out}`
  : Y extends ''
    ? `${Carry extends 1 ? '1' : ''}${Out}`
    : AddDigits<Y, Carry extends 1 ? '1' : '', 0, Out>
type PutDigit<
  Sum extends string,
  X extends string,
  Y extends string,
  Out extends string,
> = Sum extends `1${infer Last extends Digit}`
  ? AddDigits<X, Y, 1, `${Last}${Out}`>
  : AddDigits<X, Y, 0, `${Sum}${Out}`>

/** The sum of two literal sizes; `Dim` when one is a name or open. */
export type AddSizes<X extends Dim, Y extends Dim> = number extends X | Y
  ? Dim
  : [X, Y] extends [number, number]
    ? AddDigits<Reverse<`${X}`>, Reverse<`${Y}`>> extends `${infer Sum extends number}`
      ? Sum
      : Dim
    : Dim

// Halving ----------------------------------------------------------------------------------------------------------

/** Halves of the digits, after an even digit and after an odd one. */
type AfterEven = ['0', '0', '1', '1', '2', '2', '3', '3', '4', '4']
type AfterOdd = ['5', '5', '6', '6', '7', '7', '8', '8', '9', '9']
type OddDigit = '1' | '3' | '5' | '7' | '9'
type HalveDigits<
  Text extends string,
  Table extends string[] = AfterEven,
  Out extends string = '',
> = Text extends `${infer Head extends Digit}${infer Tail}`
  ? HalveDigits<Tail, `${Head}` extends OddDigit ? AfterOdd : AfterEven, `${Out}${Table[Head]}`>
  : Out
type WithoutLeadingZero<Text extends string> = Text extends `0${infer Tail}` ? (Tail extends '' ? '0' : Tail) : Text

/** floor(L / 2) + 1: the frequencies of a real transform of length L. Open unless L is literal. */
export type HalfSpectrum<L extends Dim> = number extends L
  ? Dim
  : WithoutLeadingZero<HalveDigits<`${L}`>> extends `${infer Half extends number}`
    ? AddSizes<Half, 1>
    : Dim
