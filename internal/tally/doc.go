// Command tally prints what the tests of a lane have counted, and fails when it is not enough.
//
// It reads the files that package internal/evidence leaves, FOLDER/LANE/*.json:
//
//	tally -lane crash -count states -least 100000 FOLDER
//
//	crash                  states
//	log, length 3          24,478
//	store, length 3        62,650
//	total                  87,128
//	tally: crash: 87128 states, at least 100000 are asked for
//
// With -totals the sum of every other count follows. It exits 1 when the total is below -least,
// when an item counts violations, or when there is nothing to count; 2 when the command line makes
// no sense.
package main
