// Fuzzall runs every fuzz target of the rooms that decode what a disk or a peer sends, one after
// the other, each for FUZZTIME (10 s), from the seeds committed beside the tests.
//
//	go run ./internal/fuzzall [-time 10s] [-only State]
//
// It fails when a target finds an input that breaks what it checks; the go command has then written
// that input to testdata/fuzz, to be committed with the fix.
package main
