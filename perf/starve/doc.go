// Package starve takes the processor away from one process, all but a small share, as a machine
// with too much to do would. It uses control groups, of version 1 or 2, and needs root.
package starve
