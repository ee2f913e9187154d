// Package chunkfile keeps chunks in files that are written once before use.
package chunkfile
