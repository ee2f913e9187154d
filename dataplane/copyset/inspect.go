package copyset

import "github.com/ashlar-storage/ashlar/io/wal"

// Span is the first and the last index of the entries that were found; last is first-1 when there
// are none. For tools that look at a log offline.
func (rc *Recovered) Span() (first, last uint64) {
	return rc.entries.base + 1, rc.entries.last()
}

// KindName is what tools call a kind of record; empty for one this version does not know.
func KindName(k wal.Kind) string {
	switch k {
	case RecordEntry:
		return "entry"
	case RecordHard:
		return "hard"
	case RecordState:
		return "state"
	case RecordConf:
		return "conf"
	case RecordPlaced:
		return "placed"
	}
	return ""
}

// String names a kind of command.
func (k CommandKind) String() string {
	switch k {
	case CmdWrite:
		return "write"
	case CmdZero:
		return "zero"
	case CmdDeleteVolume:
		return "delete-volume"
	case CmdFence:
		return "fence"
	case CmdErased:
		return "erased-volumes"
	}
	return "unknown"
}
