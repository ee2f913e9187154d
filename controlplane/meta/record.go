package meta

import (
	"fmt"

	"github.com/cloudwego/prutal"
)

// A value of a table is one record:
//
//	 0        1
//	+--------+---------------------------------------------+
//	| version| protocol buffers message of the table's kind |
//	+--------+---------------------------------------------+
//
// version is RecordVersion. Fields that a message lacks are zero; fields that this program does
// not know are dropped when the record is written again, so a change that an older program must
// not overwrite raises the version.
//
// Version 1 knew no directories: every name was in the root, and the name in a volume's record was
// the one that counted. It is read on: its volumes have their entries in the root. From version 2
// on the entries of Directory count, and the name in a volume's record is the one that it had when
// the record was written, which matters only where no entry leads to the volume any more.
const RecordVersion = 2

// message is a generated or hand-written protocol buffers structure.
type message[T any] interface {
	*T
	Marshal([]byte) ([]byte, error)
	Unmarshal([]byte) error
}

func encode[T any, P message[T]](m P) ([]byte, error) {
	b, err := m.Marshal([]byte{RecordVersion})
	if err != nil {
		return nil, fmt.Errorf("meta: encode: %w", err)
	}
	return b, nil
}

func decode[T any, P message[T]](b []byte) (P, error) {
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: empty record", ErrCorrupt)
	}
	switch v := b[0]; {
	case v > RecordVersion:
		return nil, fmt.Errorf("%w: record version %d, this program knows up to %d", ErrVersion, v,
			RecordVersion)
	case v == 0:
		return nil, fmt.Errorf("%w: record version 0", ErrCorrupt)
	}
	m := P(new(T))
	if err := m.Unmarshal(b[1:]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return m, nil
}

// Session is a client's attachment of a volume. The lease itself is not kept: after a restart
// every session has a whole one.
type Session struct {
	SessionID uint64 `protobuf:"varint,1,opt,name=session_id"`
	VolumeID  uint64 `protobuf:"varint,2,opt,name=volume_id"`
	Epoch     uint64 `protobuf:"varint,3,opt,name=epoch"`
	ReadOnly  bool   `protobuf:"varint,4,opt,name=read_only"`
	Client    string `protobuf:"bytes,5,opt,name=client"`
	OpenedNS  int64  `protobuf:"varint,6,opt,name=opened_unix_ns"`
}

// Marshal appends the record's fields to b.
func (s *Session) Marshal(b []byte) ([]byte, error) { return prutal.MarshalAppend(b, s) }

// Unmarshal reads the record's fields from b.
func (s *Session) Unmarshal(b []byte) error { return prutal.Unmarshal(b, s) }

// Event is something that happened, for operators to read.
type Event struct {
	EventID  uint64 `protobuf:"varint,1,opt,name=event_id"`
	TimeNS   int64  `protobuf:"varint,2,opt,name=time_unix_ns"`
	Severity string `protobuf:"bytes,3,opt,name=severity"` // info | warning | error
	Kind     string `protobuf:"bytes,4,opt,name=kind"`
	Object   string `protobuf:"bytes,5,opt,name=object"` // cluster | node | store | ...
	ObjectID uint64 `protobuf:"varint,6,opt,name=object_id"`
	Name     string `protobuf:"bytes,7,opt,name=name"` // of the object, at that time
	Text     string `protobuf:"bytes,8,opt,name=text"`
}

// Marshal appends the record's fields to b.
func (e *Event) Marshal(b []byte) ([]byte, error) { return prutal.MarshalAppend(b, e) }

// Unmarshal reads the record's fields from b.
func (e *Event) Unmarshal(b []byte) error { return prutal.Unmarshal(b, e) }

// Entry is what a name in a directory leads to: a volume or a directory.
type Entry struct {
	VolumeID    uint64 `protobuf:"varint,1,opt,name=volume_id"`
	DirectoryID uint64 `protobuf:"varint,2,opt,name=directory_id"`    // 0: a volume
	CreatedNS   int64  `protobuf:"varint,3,opt,name=created_unix_ns"` // of the directory
}

// Marshal appends the record's fields to b.
func (e *Entry) Marshal(b []byte) ([]byte, error) { return prutal.MarshalAppend(b, e) }

// Unmarshal reads the record's fields from b.
func (e *Entry) Unmarshal(b []byte) error { return prutal.Unmarshal(b, e) }
