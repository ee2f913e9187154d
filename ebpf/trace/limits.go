package trace

// What a Span keeps. More is counted, and no more than counted.
const (
	MaxOps    = 1 << 20
	MaxOthers = 1 << 20 // appends, acks, delays and device operations, each
)
