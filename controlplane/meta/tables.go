package meta

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/uuid"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// Keys, by their first byte. Numbers in keys are 8 bytes big-endian, so that keys sort as numbers.
//
//	'c' name                  counter: the last number given out, 8 bytes big-endian
//	'd' parent  name          Directory: the volume or directory that the name leads to
//	'e' event                 Events
//	'g' copyset               Copysets
//	'i' name                  identity: cluster id, format version (text); Restored
//	'k' kind                  Schedulers
//	'l' name                  Limits
//	'm' oving                 cluster id, while metadata move to here
//	'n' node                  Nodes
//	'o' session               Sessions
//	's' store                 Stores
//	'u' first                 Erased: used up, a run of volume and directory ids
//	'v' volume                Volumes
//	'w' pool                  ScrubWindows
//	'x' volume  segment       Segments
//
// Names are last in their keys and are not terminated.
var (
	Nodes    = Table[v1.Node, *v1.Node]{name: "node", prefix: 'n'}
	Stores   = Table[v1.Store, *v1.Store]{name: "store", prefix: 's'}
	Copysets = Table[v1.Copyset, *v1.Copyset]{name: "copyset", prefix: 'g'}
	Volumes  = Table[v1.Volume, *v1.Volume]{name: "volume", prefix: 'v'}
	Segments = Table[v1.Segment, *v1.Segment]{name: "segment", prefix: 'x'}
	// Schedulers has those that are paused.
	Schedulers = Table[v1.Scheduler, *v1.Scheduler]{name: "scheduler", prefix: 'k'}
	// ScrubWindows has those of pools that have some.
	ScrubWindows = Table[v1.ScrubWindows, *v1.ScrubWindows]{name: "scrub windows", prefix: 'w'}
	// Limits has those that were set.
	Limits    = Table[v1.Limit, *v1.Limit]{name: "limit", prefix: 'l'}
	Sessions  = Table[Session, *Session]{name: "session", prefix: 'o'}
	Events    = Table[Event, *Event]{name: "event", prefix: 'e'}
	Directory = Table[Entry, *Entry]{name: "directory", prefix: 'd'}
	// Erased has the ids of volumes and directories that are gone, as runs.
	Erased = Table[v1.VolumeRun, *v1.VolumeRun]{name: "erased volumes", prefix: 'u'}
)

// Key is a key inside a table.
type Key []byte

// RootDir is the parent of top-level names in Directory. Volume and directory ids start above it.
const RootDir = 1

// ID is the key of a numbered record.
func ID(id uint64) Key { return binary.BigEndian.AppendUint64(nil, id) }

// SegmentKey is the key of one segment of a volume; ID(volume) is the prefix of all of them.
func SegmentKey(volume, index uint64) Key {
	return binary.BigEndian.AppendUint64(ID(volume), index)
}

// NameKey is the key of a name in a directory; ID(parent) is the prefix of all its names.
func NameKey(parent uint64, name string) Key { return append(ID(parent), name...) }

// SplitNameKey is NameKey's inverse.
func SplitNameKey(k Key) (parent uint64, name string, err error) {
	if len(k) <= 8 {
		return 0, "", fmt.Errorf("%w: directory %x: want a number and a name", ErrCorrupt,
			[]byte(k))
	}
	return binary.BigEndian.Uint64(k), string(k[8:]), nil
}

// Table is a set of records of one kind, by key.
type Table[T any, P message[T]] struct {
	name   string
	prefix byte
}

// Prefix is what keys under k start with in the KV, for Watch. A nil k is the whole table.
func (t Table[T, P]) Prefix(k Key) []byte { return append([]byte{t.prefix}, k...) }

// Get returns the record, or ErrNotFound.
func (t Table[T, P]) Get(r Reader, k Key) (P, error) {
	b, err := r.Get(t.Prefix(k))
	if err != nil {
		return nil, t.wrap(k, err)
	}
	return t.Decode(k, b)
}

// Decode reads a record as it lies in the KV, for Watch.
func (t Table[T, P]) Decode(k Key, value []byte) (P, error) {
	m, err := decode[T, P](value)
	if err != nil {
		return nil, t.wrap(k, err)
	}
	return m, nil
}

// Put writes the record.
func (t Table[T, P]) Put(tx Tx, k Key, m P) error {
	b, err := encode[T](m)
	if err == nil {
		err = tx.Put(t.Prefix(k), b)
	}
	return t.wrap(k, err)
}

// Delete removes the record; one that is not there is no error.
func (t Table[T, P]) Delete(tx Tx, k Key) error { return t.wrap(k, tx.Delete(t.Prefix(k))) }

// Scan calls fn for the records under a key prefix in order, from the key from (nil: the first),
// at most limit of them (0: all).
func (t Table[T, P]) Scan(r Reader, under, from Key, limit int, fn func(Key, P) error) error {
	var start []byte
	if from != nil {
		start = t.Prefix(from)
	}
	return r.Scan(t.Prefix(under), start, limit, func(k, v []byte) error {
		m, err := t.Decode(k[1:], v)
		if err != nil {
			return err
		}
		return fn(append(Key(nil), k[1:]...), m)
	})
}

// All returns every record of the table in key order.
func (t Table[T, P]) All(r Reader) ([]P, error) {
	var all []P
	err := t.Scan(r, nil, nil, 0, func(_ Key, m P) error {
		all = append(all, m)
		return nil
	})
	return all, err
}

func (t Table[T, P]) wrap(k Key, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w (%s %x)", err, t.name, []byte(k))
}

// Counter names a sequence of numbers that are never given out twice.
type Counter string

// The counters of a cluster. Volumes and directories share one.
const (
	CounterNode     Counter = "node"
	CounterStore    Counter = "store"
	CounterCopyset  Counter = "copyset"
	CounterReplica  Counter = "replica"
	CounterVolume   Counter = "volume"
	CounterSession  Counter = "session"
	CounterTopology Counter = "topology"
)

// first is the number before the first one given out.
func (c Counter) first() uint64 {
	if c == CounterVolume {
		return RootDir
	}
	return 0
}

// NextID returns the counter's next number; it is given out when the transaction commits.
func NextID(tx Tx, c Counter) (uint64, error) { return Advance(tx, c, 1) }

// Advance takes n numbers at once and returns the last of them.
func Advance(tx Tx, c Counter, n uint64) (uint64, error) {
	last, err := LastID(tx, c)
	if err != nil {
		return 0, err
	}
	if last+n < last {
		return 0, fmt.Errorf("meta: counter %s is used up", c)
	}
	last += n
	return last, tx.Put(c.key(), ID(last))
}

// Raise makes sure that no number up to one is given out any more: others have it.
func Raise(tx Tx, c Counter, to uint64) error {
	last, err := LastID(tx, c)
	if err != nil || last >= to {
		return err
	}
	return tx.Put(c.key(), ID(to))
}

// LastID returns the last number that was given out.
func LastID(r Reader, c Counter) (uint64, error) {
	b, err := r.Get(c.key())
	switch {
	case errors.Is(err, ErrNotFound):
		return c.first(), nil
	case err != nil:
		return 0, err
	case len(b) != 8:
		return 0, fmt.Errorf("%w: counter %s has %d bytes, want 8", ErrCorrupt, c, len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}

func (c Counter) key() []byte { return append([]byte{'c'}, c...) }

// Identity is what makes a cluster this one.
type Identity struct {
	ClusterID string
	Fresh     bool // Init made it just now
}

var (
	keyClusterID = []byte("icluster_id")
	keyFormat    = []byte("iformat")
)

// Init reads the identity of the cluster whose metadata kv holds, or gives it one. Metadata of a
// newer format is ErrVersion.
func Init(ctx context.Context, kv Store) (Identity, error) {
	var id Identity
	fresh := uuid.NewString()
	err := kv.Update(ctx, func(tx Tx) error {
		id = Identity{}
		format, err := tx.Get(keyFormat)
		if errors.Is(err, ErrNotFound) {
			id = Identity{ClusterID: fresh, Fresh: true}
			return initIdentity(tx, fresh)
		}
		if err != nil {
			return err
		}
		version, err := parseFormat(string(format))
		if err != nil {
			return err
		}
		if err := checkVersion(version, "the metadata"); err != nil {
			return err
		}
		text, err := tx.Get(keyClusterID)
		if err != nil {
			return fmt.Errorf("%w: no cluster id: %w", ErrCorrupt, err)
		}
		if _, err := uuid.Parse(string(text)); err != nil {
			return fmt.Errorf("%w: cluster id %q: %w", ErrCorrupt, text, err)
		}
		id.ClusterID = string(text)
		return nil
	})
	return id, err
}

func initIdentity(tx Tx, clusterID string) error {
	// Keys with a leading zero byte are the KV's own.
	if cluster, err := tx.Get(keyMoving); err == nil {
		return fmt.Errorf("%w: cluster %s was being moved or restored to here, and that was "+
			"broken off; run `ashlar control migrate`, or `ashlar control restore`, again",
			ErrForeign, cluster)
	}
	err := tx.Scan(nil, []byte{1}, 1, func(k, _ []byte) error {
		return fmt.Errorf("%w: key %q but no format version", ErrForeign, k)
	})
	if err != nil {
		return err
	}
	format := fmt.Sprintf("%s%d\n", formatPrefix, FormatVersion)
	return errors.Join(
		tx.Put(keyFormat, []byte(format)),
		tx.Put(keyClusterID, []byte(clusterID)))
}
