// Package window says at which times of a week something may run, as the control plane tells it to
// the nodes: text that both read.
//
// # Promises
//
//   - What Parse takes, Text and Zone give back, so that another process reads the same.
//   - Whether a window is open depends on the time alone, so a node needs nobody to tell it.
//
// # Limits
//
// A text has 16 windows in 256 bytes at most. Windows are whole minutes. There is no database of
// time zones: a zone is UTC, an offset, or the machine's own, which alone follows summer time; in
// the hour in which that begins or ends a window is as long as the clock has it.
package window
