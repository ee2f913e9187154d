//go:build !amd64

package mark

// Attached reports whether a probe is attached to this process: never, on this processor.
func Attached() bool { return false }

func ops(*Op, int, int) {}

func appends(*Append, int, int) {}

func acks(*Ack, int, int) {}
