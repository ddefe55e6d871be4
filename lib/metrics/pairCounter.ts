/**
 * Counts the (positive, negative) pairs that are ranked right, from examples in ascending order of score: equal scores
 * are gathered until `settle`, and their pairs count one half.
 */
export class PairCounter {
  private wins = 0
  /** Mass of each class below the current score. */
  private positives = 0
  private negatives = 0
  private tiedPositives = 0
  private tiedNegatives = 0

  add(isPositive: boolean, weight = 1): void {
    if (isPositive) this.tiedPositives += weight
    else this.tiedNegatives += weight
  }

  /** The next score is greater. */
  settle(): void {
    this.wins += this.tiedPositives * (this.negatives + this.tiedNegatives / 2)
    this.positives += this.tiedPositives
    this.negatives += this.tiedNegatives
    this.tiedPositives = this.tiedNegatives = 0
  }

  /** The share of pairs that are right; NaN where there is none. Settles, and starts anew. */
  finish(): { readonly auc: number; readonly positives: number; readonly negatives: number } {
    this.settle()
    const { wins, positives, negatives } = this
    this.wins = this.positives = this.negatives = 0
    return { auc: wins / (positives * negatives), positives, negatives }
  }
}
