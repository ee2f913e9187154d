package config

import "time"

const (
	// FileBytesMax bounds a configuration file; a larger one is refused unread.
	FileBytesMax = 1 << 20
	// sizeTextMax bounds the text of one size, such as "4GiB".
	sizeTextMax = 32
	// SizeMax is the largest size accepted anywhere: 8 EiB does not fit a signed offset.
	SizeMax = 1<<63 - 1
	// nodeMemoryMin is the least buffer memory with which a node can take requests in.
	nodeMemoryMin Size = 64 << 20
	// logLimitMin holds four segments: with fewer the log is over its limit before one is full
	// that could be used again.
	logLimitMin Size = 256 << 20
	// stallAfterMin is the least age at which a store may be taken for stalled.
	stallAfterMin = Duration(50 * time.Millisecond)
	// lostAfterMin is the least time after which a store may be given up.
	lostAfterMin = Duration(time.Second)
)
