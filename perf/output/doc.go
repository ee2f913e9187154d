// Package output writes what jobs did in the forms of fio: its normal text, json and json+, terse
// version 3, and its logs, so that what reads fio's files (fio-plot, fio_jsonplus_clat2csv,
// scripts) reads ours.
//
// Names, nesting, units and histograms are those of fio 3.33. What fio has no place for is in the
// key "ashlar" of the document and of each job: fields are added there, never renamed or removed.
//
// Differences that a reader should know: slat is empty, because submission counts in clat, as it
// does for fio's engines that do all of an operation in one call; clat counts from the submission
// and lat from the intended start, which differ in an open loop; usr_cpu, sys_cpu, ctx, majf and
// minf are those of the whole process while the job ran.
//
// The package is pure, but for WriteLogs.
package output
