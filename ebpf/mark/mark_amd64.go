package mark

// armed is what the kernel counts probes in, in this process's memory.
var armed uint16

// Attached reports whether a probe is attached to this process.
func Attached() bool { return armed != 0 }

//go:noescape
func ops(first *Op, count, layout int)

//go:noescape
func appends(first *Append, count, layout int)

//go:noescape
func acks(first *Ack, count, layout int)
