// Package tidy holds no code, only tests. The first reads the source tree and refuses what reviews
// should not have to look for: imports against the direction of the layers, files and functions
// that outgrew one reader's head, calls that have a better named replacement, packages without a
// doc.go, and documents without exactly one title.
//
// The rules are the tables at the top of tidy_test.go. Every finding is printed as
// file:line: rule: what to do instead. Generated code (the standard "Code generated ... DO NOT
// EDIT." line) is exempt from everything but the import direction.
//
// formats_test.go keeps docs/formats.md in step with the code: the drawings on the page are those
// of the sources, their offsets add up and are those of the writing code, and the versions on the
// page are those of the constants and of the golden files.
//
// A rule is changed in the table, in a commit of its own that says why; there is no per-line
// escape.
package tidy
