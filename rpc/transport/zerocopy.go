package transport

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// ZeroCopy says which batches of frames leave a TCP connection by zero-copy sends: the kernel reads
// the payload where it lies, and its owner gets it back when the peer has acknowledged it. The zero
// value means none.
type ZeroCopy struct {
	// Threshold is the least payload of a frame in bytes that makes its batch leave so; 0: none.
	Threshold int
	// Keep goes on although the kernel says that it copied. Without it the connection goes back to
	// plain writes for good.
	Keep bool
}

// zcThreshold is that of `auto` in bytes; see docs/tried.md.
const zcThreshold = 64 << 10

// ParseZeroCopy reads "off" (or nothing), "auto", or a number of bytes: the threshold, with Keep.
// ErrConfig for anything else.
func ParseZeroCopy(s string) (ZeroCopy, error) {
	switch s {
	case "", "off":
		return ZeroCopy{}, nil
	case "auto":
		return ZeroCopy{Threshold: zcThreshold}, nil
	}
	n, err := strconv.ParseInt(s, 10, 31)
	if err != nil || n <= 0 {
		return ZeroCopy{}, fmt.Errorf("%w: zero-copy %q: use off, auto, or bytes above 0",
			ErrConfig, s)
	}
	return ZeroCopy{Threshold: int(n), Keep: true}, nil
}

// zcSteps decides for one connection which batches go by zero-copy sends and what follows each
// completion. A batch is in one mode at a time:
//
//	          takes             sent: zcRest
//	batch ---------> zero-copy <------------+
//	  |                 |    \______________|
//	  | no              | sent: zcPlain      \ sent: zcDone
//	  v                 v                     v
//	plain writes <------+                  the next batch
//
// It has no lock and no clock.
type zcSteps struct {
	cfg  ZeroCopy
	off  bool // for good
	held int  // sends whose memory the kernel may still read
}

// zcNext is what follows the first completion of a send.
type zcNext uint8

const (
	zcDone  zcNext = iota // the kernel has the whole batch
	zcRest                // another zero-copy send takes the rest
	zcPlain               // plain writes take the rest, and tell the error if there is one
)

// takes reports whether a batch goes by zero-copy sends: its largest payload has so many bytes, and
// loose tells that some of it is not for the transport to keep.
func (z *zcSteps) takes(largest int, loose bool) bool {
	return z.cfg.Threshold > 0 && !z.off && !loose && largest >= z.cfg.Threshold
}

// began: a send is under way.
func (z *zcSteps) began() { z.held++ }

// refused: the send did not get under way.
func (z *zcSteps) refused() { z.held-- }

// sent: the kernel took res bytes of a batch that had left many, or gives an errno as a negative
// number. more tells that the memory is still in use. It returns the bytes taken.
func (z *zcSteps) sent(res int32, more bool, left int64) (int, zcNext) {
	if !more {
		z.held--
	}
	switch errno := unix.Errno(-res); {
	case res > 0 && int64(res) >= left:
		return int(res), zcDone
	case res > 0 && !z.off:
		return int(res), zcRest
	case res > 0:
		return int(res), zcPlain
	case errno == unix.EINTR || errno == unix.EAGAIN:
		return 0, zcRest
	case errno == unix.EINVAL || errno == unix.EOPNOTSUPP:
		z.off = true // the kernel or the socket cannot
	}
	return 0, zcPlain
}

// notified: the kernel lets the memory of a send go.
func (z *zcSteps) notified(copied bool) {
	z.held--
	if copied && !z.cfg.Keep {
		z.off = true
	}
}
