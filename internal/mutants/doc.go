// Mutants proves that the tests of the durable rooms can fail: it breaks the code in one line at a
// time, on purpose, and demands that a named test notices.
//
//	go run ./internal/mutants            # all of them, two at a time
//	go run ./internal/mutants -only crc  # those whose name has the word
//
// The tree is never touched: each mutant is compiled from an overlay. A row of the table names the
// promise that the bug breaks, the file, the text that is replaced and what with, and the one test
// that must catch it. The run fails when a mutant survives, does not compile, or runs out of time;
// when a row's text is not in its file exactly once, so that the table cannot rot; and when the
// canary, a mutant that changes nothing, is reported as caught: then the tests fail anyway, and the
// other rows prove nothing.
package main
