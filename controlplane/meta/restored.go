package meta

import (
	"errors"

	"github.com/cloudwego/prutal"
)

// Metadata that come from a backup are older than the cluster, and nobody can say by how much:
// what was given out since is known to those who have it, and to nobody who could be asked for all
// of it.
// So a restore draws a line, the floor: all numbers of before are below it, and everything that is
// given out from then on is above. The floor is the time in milliseconds since 1970, or a thousand
// million above all that the backup knows of, whichever is more. Counters that begin at the time
// of one restore and give out fewer than a thousand numbers in a second, year in, year out, stay
// below the time of the next: a backup may be restored twice. Counters that jump by a fixed
// distance would give out the numbers after the first restore again.

// RestoredJump is how far the floor is above what the backup knows, at least. No copyset that was
// made before the first restore has as high a number.
const RestoredJump = 1_000_000_000

// Restored says that metadata were restored from a backup, or made of nothing for a cluster that
// lost them. It stays, so that what is older than the restore can be told from what is newer.
type Restored struct {
	TimeNS      int64  `protobuf:"varint,1,opt,name=time_unix_ns"`  // of the restore
	TakenNS     int64  `protobuf:"varint,2,opt,name=taken_unix_ns"` // of the backup; 0: none
	Revision    uint64 `protobuf:"varint,3,opt,name=revision"`      // of the backup
	Floor       uint64 `protobuf:"varint,4,opt,name=floor"`         // see above
	LastSession uint64 `protobuf:"varint,5,opt,name=last_session"`  // given out by the backup
	// RebuiltNS is when all that the nodes have was found to be in the metadata; 0: not yet.
	RebuiltNS int64 `protobuf:"varint,6,opt,name=rebuilt_unix_ns"`
}

// Marshal appends the record's fields to b.
func (m *Restored) Marshal(b []byte) ([]byte, error) { return prutal.MarshalAppend(b, m) }

// Unmarshal reads the record's fields from b.
func (m *Restored) Unmarshal(b []byte) error { return prutal.Unmarshal(b, m) }

var keyRestored = []byte("irestored")

// ReadRestored returns what is known of the last restore; nil when there was none.
func ReadRestored(r Reader) (*Restored, error) {
	b, err := r.Get(keyRestored)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decode[Restored](b)
}

// counters are all there are.
var counters = []Counter{CounterNode, CounterStore, CounterCopyset, CounterReplica, CounterVolume,
	CounterSession, CounterTopology}

// drawLine raises all counters to the floor, and writes it down. Copysets keep their numbers: what
// has an epoch below the floor is as the backup has it.
func drawLine(tx Tx, m Restored) (Restored, error) {
	m.Floor = uint64(max(0, m.TimeNS)) / 1_000_000
	for _, c := range counters {
		last, err := LastID(tx, c)
		if err != nil {
			return m, err
		}
		m.Floor = max(m.Floor, last+RestoredJump)
		if c == CounterSession {
			m.LastSession = last
		}
	}
	newest, err := newestEvent(tx)
	if err != nil {
		return m, err
	}
	m.Floor = max(m.Floor, newest+RestoredJump)
	for _, c := range counters {
		err = errors.Join(err, Raise(tx, c, m.Floor))
	}
	return m, errors.Join(err, PutRestored(tx, &m))
}

// PutRestored writes down what is known of the last restore.
func PutRestored(tx Tx, m *Restored) error {
	b, err := encode(m)
	if err != nil {
		return err
	}
	return tx.Put(keyRestored, b)
}

func newestEvent(r Reader) (id uint64, err error) {
	events, err := Events.All(r)
	if len(events) > 0 {
		id = events[len(events)-1].EventID
	}
	return id, err
}
