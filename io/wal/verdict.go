package wal

// verdict is what recovery does at one position of the log.
type verdict uint8

const (
	// verdictEnd: the next segment says that the log left this one here.
	verdictEnd verdict = iota + 1
	// verdictReplay: an intact frame.
	verdictReplay
	// verdictLostRecords: the descriptor is intact and was durable, some payload is not:
	// the intact records are replayed, the groups of the others are damaged.
	verdictLostRecords
	// verdictLostFrame: a durable frame is unreadable: unknown groups are damaged, and
	// replay goes on at the next intact frame.
	verdictLostFrame
	// verdictHole: a write that never completed, behind which a later one, never
	// acknowledged either, did reach the device. The log is cut here.
	verdictHole
	// verdictTornPayload and verdictTornFrame: a crash interrupted the last write. The log
	// is cut here.
	verdictTornPayload
	verdictTornFrame
	// verdictClean: nothing was written here. The log ends.
	verdictClean
)

// evidence is everything a verdict depends on.
type evidence struct {
	// atEnd: the position is where the next segment says this one ended.
	atEnd bool
	// descriptor: a descriptor with the right crc, stamp, own position and extent.
	descriptor bool
	// payload: every payload block matches its crc.
	payload bool
	// promised: the position is below a watermark found in the log, so it was durable.
	promised bool
	// later: an intact descriptor of this log lies further on.
	later bool
	// begun: the block starts with this segment's stamp and this position, intact or not.
	begun bool
}

// cases is the decision table. Exactly one case matches any evidence; a test enumerates all.
// Without a descriptor, payload has no meaning and no case looks at it.
var cases = [...]struct {
	name    string
	verdict verdict
	match   func(e evidence) bool
}{
	{"end", verdictEnd, func(e evidence) bool { return e.atEnd }},
	{"replay", verdictReplay, func(e evidence) bool {
		return !e.atEnd && e.descriptor && e.payload
	}},
	{"lost records", verdictLostRecords, func(e evidence) bool {
		return !e.atEnd && e.descriptor && !e.payload && e.promised
	}},
	{"lost frame", verdictLostFrame, func(e evidence) bool {
		return !e.atEnd && !e.descriptor && e.promised
	}},
	{"hole", verdictHole, func(e evidence) bool {
		return !e.atEnd && !(e.descriptor && e.payload) && !e.promised && e.later
	}},
	{"torn payload", verdictTornPayload, func(e evidence) bool {
		return !e.atEnd && e.descriptor && !e.payload && !e.promised && !e.later
	}},
	{"torn frame", verdictTornFrame, func(e evidence) bool {
		return !e.atEnd && !e.descriptor && !e.promised && !e.later && e.begun
	}},
	{"clean end", verdictClean, func(e evidence) bool {
		return !e.atEnd && !e.descriptor && !e.promised && !e.later && !e.begun
	}},
}

// judge returns the verdict for e.
func judge(e evidence) verdict {
	for i := range cases {
		if cases[i].match(e) {
			return cases[i].verdict
		}
	}
	panic("wal: no verdict for the evidence")
}

// origin is how the use of a segment file was learnt at Open.
type origin uint8

const (
	// originHeader: the header names the stamp.
	originHeader origin = iota + 1
	// originFrame: the first frame does. The header was lost, by a crash while the segment
	// was begun or by the device; frames say all that a header says.
	originFrame
	// originScan: header and first frame are unreadable, a later frame tells.
	originScan
	// originBlank: prepared and never used.
	originBlank
	// originUnreadable: it was used, and nothing tells for what.
	originUnreadable
)

// slotEvidence is everything the origin depends on.
type slotEvidence struct {
	// header: intact. blank: the header block is zeroes.
	header, blank bool
	// frame: an intact descriptor in the first place. newer: its stamp is newer than the
	// header's.
	frame, newer bool
	// found: a scan of the whole file found an intact descriptor. empty: beyond the header
	// block the file is zeroes.
	found, empty bool
}

// rotten tells a header block that no crash of a sound device leaves. All content of a header is
// in its first sector, which is old or new, and the rest of the block is zeroes from the
// preparation on: a crash leaves an intact header, perhaps an older one, or zeroes.
func (e slotEvidence) rotten() bool { return !e.header && !e.blank }

// slotCases is the decision table of segment files; exactly one case matches any evidence.
var slotCases = [...]struct {
	name   string
	origin origin
	match  func(e slotEvidence) bool
}{
	{"header", originHeader, func(e slotEvidence) bool {
		return e.header && !(e.frame && e.newer)
	}},
	{"header is behind its frame", originFrame, func(e slotEvidence) bool {
		return e.header && e.frame && e.newer
	}},
	{"frame without header", originFrame, func(e slotEvidence) bool {
		return !e.header && e.frame
	}},
	{"later frame only", originScan, func(e slotEvidence) bool {
		return !e.header && !e.frame && e.found
	}},
	{"blank", originBlank, func(e slotEvidence) bool {
		return !e.header && !e.frame && !e.found && (e.blank || e.empty)
	}},
	{"unreadable", originUnreadable, func(e slotEvidence) bool {
		return !e.header && !e.frame && !e.found && !e.blank && !e.empty
	}},
}

// judgeSlot returns the origin for e.
func judgeSlot(e slotEvidence) origin {
	for i := range slotCases {
		if slotCases[i].match(e) {
			return slotCases[i].origin
		}
	}
	panic("wal: no origin for the evidence")
}
