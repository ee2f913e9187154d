// Package evidence is how tests and lanes leave counts that a document can quote: what was tried,
// under which promise, with what verdicts.
//
// A test calls Record once, at its end. With the environment variable EVIDENCE naming a folder the
// counts become a file there, LANE/NAME.json; without it they are only logged. A lane that is no
// Go test calls Leave. Read is how the lanes' tables are made. The file:
//
//	{"lane": "crash", "name": "store, length 3", "promises": ["P1", "P6"],
//	 "test": "dataplane/store TestX", "counts": {"states": 123456, "violations": 0}}
//
// Counts are whole numbers; names are lower case, words separated by spaces. A file replaces an
// earlier one of the same lane and name. Nothing here decides anything: a violation fails its test.
package evidence
