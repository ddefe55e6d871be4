/** Data: schemas, files, vocabularies, splits and batches. */
export type { BatchSource, Counts, PreparedBatch } from '../core/batchSource.js'
export type { Column, Columns, Encoding, Scale } from './columns.js'
export type { DataFile, FileFormat } from './dataFile.js'
export { type AnyDataset, Dataset, type FeatureReport, type Report } from './dataset.js'
export { type BatchOptions, datasetBatches, type TypedBatchSource } from './datasetBatches.js'
export { encode, type FitOptions, fitEncoding, type VocabularyLimits } from './encoding.js'
export { encodingDigest, loadEncoding, saveEncoding } from './encodingFile.js'
export {
  type AnySchema,
  type BatchFields,
  type CategoricalOptions,
  categorical,
  type DataSchema,
  type DenseOptions,
  defineSchema,
  dense,
  domain,
  type Feature,
  type Features,
  type GroupIdOptions,
  groupId,
  type LabelOptions,
  label,
  type NumericOptions,
  numeric,
  type SequenceOptions,
  sequence,
  type TimeOptions,
  time,
} from './features.js'
export { type FileBatchOptions, type FileBatchSource, fileBatches } from './fileBatches.js'
export { parseSchema } from './parseSchema.js'
export { fitEncodingOfFile, type ReadOptions, readDataset } from './readDataset.js'
export {
  type Fractions,
  type Parts,
  splitAtRow,
  splitAtTime,
  splitByGroup,
  splitByTime,
  splitInOrder,
  splitRandomly,
} from './splits.js'
