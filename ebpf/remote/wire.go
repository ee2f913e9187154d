package remote

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/ashlar-storage/ashlar/ebpf/probe"
)

var (
	// ErrWire marks a stream that is not one, or is damaged.
	ErrWire = errors.New("remote: bad stream")
	// ErrVersion marks a node whose probes are not of this program's version.
	ErrVersion = errors.New("remote: another version")
)

// A stream of a trace is the body of an HTTP answer. Numbers are little-endian. It begins with
//
//	 0   8  "ASHTRACE"
//	 8   2  version of what follows, 1
//	10   6  reserved, zero
//	16  32  SHA-256 that names the sources of the probes, see probe.Version
//
// Frames of a trace follow, one after the other:
//
//	0   1  kind: 1 hello, 2 events, 3 state, 4 end
//	1   3  reserved, zero
//	4   4  bytes of payload, at most MaxFrame
//	8      payload
//
// The first is a hello. Of hello, state and end the payload is a JSON object (hello, state,
// ending); of events it is one event after the other, each a length of 4 bytes and the event as the
// probes write it.
const (
	greetingSize  = 48
	frameHeadSize = 8
	streamMagic   = "ASHTRACE"
	streamVersion = 1
)

type frameKind uint8

const (
	frameHello frameKind = iota + 1
	frameEvents
	frameState
	frameEnd
)

// hello is what a node says first.
type hello struct {
	Node    string   `json:"node"`
	Device  string   `json:"device"` // of its stores
	Missing []string `json:"missing,omitempty"`
}

// state is what a node says again and again.
type state struct {
	Now     int64               `json:"now"` // by the clock of events, in ns
	Counts  probe.Counts        `json:"counts"`
	Times   *timesTable         `json:"times,omitempty"` // nil: not this time
	Devices []probe.DeviceTimes `json:"devices,omitempty"`
}

// ending is why a node tells no more.
type ending struct {
	Error string `json:"error"`
}

func putGreeting() []byte {
	b := append(make([]byte, 0, greetingSize), streamMagic...)
	b = binary.LittleEndian.AppendUint16(b, streamVersion)
	b = append(b, 0, 0, 0, 0, 0, 0)
	version := probe.Version()
	return append(b, version[:]...)
}

func readGreeting(r io.Reader) error {
	var b [greetingSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return fmt.Errorf("%w: no greeting: %w", ErrWire, err)
	}
	if string(b[:8]) != streamMagic {
		return fmt.Errorf("%w: it begins with %q", ErrWire, b[:8])
	}
	version := probe.Version()
	if v := binary.LittleEndian.Uint16(b[8:]); v != streamVersion ||
		[len(version)]byte(b[16:]) != version {
		return fmt.Errorf("%w: the node's probes are not those of this program: trace with the "+
			"program that the node runs", ErrVersion)
	}
	if [6]byte(b[10:]) != [6]byte{} {
		return fmt.Errorf("%w: reserved bytes %x", ErrWire, b[10:16])
	}
	return nil
}

// frame is one that is being filled: its head is written at the end.
type frame struct{ b []byte }

func newFrame(kind frameKind, room []byte) *frame {
	return &frame{append(room[:0], byte(kind), 0, 0, 0, 0, 0, 0, 0)}
}

func (f *frame) payload() int { return len(f.b) - frameHeadSize }

// fits says whether an event can be added.
func (f *frame) fits(raw []byte) bool { return f.payload()+4+len(raw) <= MaxFrame }

func (f *frame) event(raw []byte) {
	f.b = binary.LittleEndian.AppendUint32(f.b, uint32(len(raw)))
	f.b = append(f.b, raw...)
}

func (f *frame) done() []byte {
	binary.LittleEndian.PutUint32(f.b[4:], uint32(f.payload()))
	return f.b
}

func jsonFrame(kind frameKind, v any, room []byte) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	f := newFrame(kind, room)
	f.b = append(f.b, text...)
	return f.done(), nil
}

func readFrame(r io.Reader) (kind frameKind, payload []byte, err error) {
	var head [frameHeadSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.LittleEndian.Uint32(head[4:])
	switch {
	case head[0] < byte(frameHello) || head[0] > byte(frameEnd):
		return 0, nil, fmt.Errorf("%w: a frame of kind %d", ErrWire, head[0])
	case [3]byte(head[1:]) != [3]byte{}:
		return 0, nil, fmt.Errorf("%w: reserved bytes %x", ErrWire, head[1:4])
	case n > MaxFrame:
		return 0, nil, fmt.Errorf("%w: a frame of %d bytes, at most %d", ErrWire, n, MaxFrame)
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, fmt.Errorf("%w: a frame is cut off: %w", ErrWire, err)
	}
	return frameKind(head[0]), payload, nil
}

// eachEvent gives the events of a frame.
func eachEvent(payload []byte, each func(raw []byte)) error {
	for len(payload) > 0 {
		if len(payload) < 4 {
			return fmt.Errorf("%w: %d bytes behind the last event", ErrWire, len(payload))
		}
		n := int(binary.LittleEndian.Uint32(payload))
		payload = payload[4:]
		if n > len(payload) {
			return fmt.Errorf("%w: an event of %d bytes, %d are left", ErrWire, n, len(payload))
		}
		each(payload[:n])
		payload = payload[n:]
	}
	return nil
}
