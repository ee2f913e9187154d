package nbd

// session judges the requests of one connection by the rules of the protocol and the promises
// of its export. It is pure: no state changes, no I/O.
type session struct {
	agreement
	flags TransmissionFlags
}

func newSession(a agreement) session {
	return session{agreement: a, flags: a.info.Flags(a.structured)}
}

// verdict is what becomes of a request.
type verdict struct {
	errno   Errno  // not zero: answer with this, after payload bytes were read and dropped
	why     string // for people, goes with errno
	payload int64  // bytes of data that follow the header
	fatal   bool   // the payload is too long to be skipped: close the connection
	empty   bool   // valid, and nothing to do: answer with success
}

// check judges h, which is any request but CmdDisc.
func (s *session) check(h header) verdict {
	var v verdict
	if h.cmd == CmdWrite {
		v.payload = int64(h.length)
		v.fatal = v.payload > maxDiscard
	}
	if v.errno, v.why = s.checkFlags(h); v.errno == 0 {
		v.errno, v.why = s.checkCommand(h)
	}
	if v.errno == 0 && h.cmd != CmdFlush {
		v.errno, v.why = s.checkRange(h)
	}
	v.empty = v.errno == 0 && (h.cmd == CmdCache || h.length == 0 && h.cmd != CmdFlush)
	return v
}

// flagsOf are the flags that mean something for a command, beside FlagFUA.
func flagsOf(c Cmd) CmdFlags {
	switch c {
	case CmdRead:
		return FlagDF
	case CmdWriteZeroes:
		return FlagNoHole | FlagFastZero
	case CmdBlockStatus:
		return FlagReqOne
	}
	return 0
}

// checkFlags: FUA goes with every command once advertised; the others belong to one command.
func (s *session) checkFlags(h header) (Errno, string) {
	allowed := flagsOf(h.cmd)
	if s.flags&SendFUA != 0 {
		allowed |= FlagFUA
	}
	if s.flags&SendDF == 0 {
		allowed &^= FlagDF
	}
	if s.flags&SendFastZero == 0 && !s.info.ReadOnly {
		allowed &^= FlagFastZero
	}
	if h.flags&^allowed != 0 {
		return EINVAL, "command flag not valid here"
	}
	return 0, ""
}

func (s *session) checkCommand(h header) (Errno, string) {
	switch h.cmd {
	case CmdRead:
		return s.checkRead(h)
	case CmdWrite, CmdTrim, CmdWriteZeroes:
		return s.checkWrite(h)
	case CmdFlush:
		if s.flags&SendFlush == 0 {
			return EINVAL, "flush is not advertised"
		}
		if h.off != 0 || h.length != 0 {
			return EINVAL, "flush takes no range"
		}
	case CmdCache:
		if s.flags&SendCache == 0 {
			return EINVAL, "cache is not advertised"
		}
	case CmdBlockStatus:
		if !s.allocation {
			return EINVAL, "no metadata context was selected"
		}
		if h.length == 0 {
			return EINVAL, "block status of no bytes"
		}
	default:
		return EINVAL, "unknown command"
	}
	return 0, ""
}

// checkRead: too long is EOVERFLOW where the client has learnt that answer by negotiating
// structured replies, else EINVAL.
func (s *session) checkRead(h header) (Errno, string) {
	tooLong := h.length > s.info.MaxPayload
	if h.flags&FlagDF != 0 && h.length > dontFragmentMax {
		tooLong = true
	}
	switch {
	case tooLong && s.structured:
		return EOVERFLOW, "read is too long"
	case tooLong:
		return EINVAL, "read is too long"
	}
	return 0, ""
}

func (s *session) checkWrite(h header) (Errno, string) {
	switch {
	case s.info.ReadOnly:
		return EPERM, "export is read-only"
	case h.cmd == CmdWrite && h.length > s.info.MaxPayload:
		return EINVAL, "write is too long"
	case h.cmd == CmdTrim && s.flags&SendTrim == 0:
		return EINVAL, "trim is not advertised"
	case h.cmd == CmdWriteZeroes && s.flags&SendWriteZeroes == 0:
		return EINVAL, "write-zeroes is not advertised"
	}
	return 0, ""
}

func (s *session) checkRange(h header) (Errno, string) {
	mask := uint64(s.info.MinBlock) - 1
	if h.off&mask != 0 || uint64(h.length)&mask != 0 {
		return EINVAL, "range is not aligned to the minimum block size"
	}
	size := uint64(s.info.Size)
	if h.off <= size && uint64(h.length) <= size-h.off {
		return 0, ""
	}
	if h.cmd == CmdWrite || h.cmd == CmdWriteZeroes {
		return ENOSPC, "range ends beyond the export"
	}
	return EINVAL, "range ends beyond the export"
}

// pieceEnd returns where the piece that starts at off ends, for a range that ends at end: the
// next multiple of step or end.
func pieceEnd(off, end, step int64) int64 {
	return min(end, off-off%step+step)
}

// pieceCount returns how many pieces [off, end) falls into; end is above off.
func pieceCount(off, end, step int64) int {
	return int((end-1)/step - off/step + 1)
}
