package copyset

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
)

// ErrBadState marks bytes that are no checkpoint state of this version.
var ErrBadState = errors.New("copyset: bad state")

// A state has version 3, and 5 where it has runs of erased volumes; one more while the membership
// is a joint one. Versions 1 and 2 are 3 and 4 with an older exactly-once table, and are read.
const (
	statePlain       = 3
	stateJoint       = 4
	stateErased      = 5
	stateJointErased = 6

	oldStates = 2 // versions up to here
)

// Peer is one member of the copyset and where to reach it.
type Peer struct {
	ReplicaID, NodeID, StoreID uint64
	Addr                       string
}

// State is everything of a replica that is not in a chunk file or a log entry: the record a
// checkpoint leaves in the log, and what a snapshot carries beside the chunks. Part of the log
// format, little-endian, numbers of 8 bytes but for the version (1) and counts and lengths (4):
//
//	version | copyset | epoch | replica | applied index | applied term | term | vote | commit
//	count, voters | count, learners
//	versions 4, 6: count, outgoing voters | count, next learners | leaves by itself (1): 0 or 1
//	count, peers {replica, node, store, length, address}
//	versions 5, 6: count, runs of erased volumes, rising {first | last}
//	exactly-once table (see sessions)
type State struct {
	Copyset, Epoch, Replica uint64
	Applied, AppliedTerm    uint64
	Hard                    raftpb.HardState
	Conf                    raftpb.ConfState
	Peers                   []Peer
	Erased                  []Volumes
	Sessions                []byte // the exactly-once table, encoded
}

// NewState is the state of a replica of a copyset that holds nothing yet, and of whose log nothing
// is known: peers are the members at its very beginning.
func NewState(copyset, epoch, replica uint64, peers []Peer) *State {
	empty := newSessions()
	s := &State{Copyset: copyset, Epoch: epoch, Replica: replica, Peers: peers,
		Sessions: empty.appendTo(nil)}
	for _, p := range peers {
		s.Conf.Voters = append(s.Conf.Voters, p.ReplicaID)
	}
	return s
}

// AppendTo appends the encoded state to dst.
func (s *State) AppendTo(dst []byte) []byte {
	le := binary.LittleEndian
	dst = append(dst, s.version())
	for _, v := range [...]uint64{s.Copyset, s.Epoch, s.Replica, s.Applied, s.AppliedTerm,
		s.Hard.Term, s.Hard.Vote, s.Hard.Commit} {
		dst = le.AppendUint64(dst, v)
	}
	dst = appendIDs(dst, s.Conf.Voters, s.Conf.Learners)
	if s.joint() {
		dst = appendIDs(dst, s.Conf.VotersOutgoing, s.Conf.LearnersNext)
		dst = append(dst, 0)
		if s.Conf.AutoLeave {
			dst[len(dst)-1] = 1
		}
	}
	dst = le.AppendUint32(dst, uint32(len(s.Peers)))
	for _, p := range s.Peers {
		for _, v := range [...]uint64{p.ReplicaID, p.NodeID, p.StoreID} {
			dst = le.AppendUint64(dst, v)
		}
		dst = le.AppendUint32(dst, uint32(len(p.Addr)))
		dst = append(dst, p.Addr...)
	}
	return append(runs(s.Erased).appendTo(dst), s.Sessions...)
}

func (s *State) version() byte {
	switch erased := len(s.Erased) > 0; {
	case erased && s.joint():
		return stateJointErased
	case erased:
		return stateErased
	case s.joint():
		return stateJoint
	}
	return statePlain
}

func (s *State) joint() bool { return len(s.Conf.VotersOutgoing) > 0 }

func appendIDs(dst []byte, lists ...[]uint64) []byte {
	le := binary.LittleEndian
	for _, ids := range lists {
		dst = le.AppendUint32(dst, uint32(len(ids)))
		for _, id := range ids {
			dst = le.AppendUint64(dst, id)
		}
	}
	return dst
}

// Decode reads a state; zero bytes may follow it, as it is stored in whole blocks. It fails with
// ErrBadState.
func (s *State) Decode(b []byte) error {
	r := reader{b: b}
	version := r.u8()
	if version == 0 || version > stateJointErased {
		return fmt.Errorf("%w: version %d, this build reads 1 to %d", ErrBadState, version,
			stateJointErased)
	}
	for _, v := range [...]*uint64{&s.Copyset, &s.Epoch, &s.Replica, &s.Applied, &s.AppliedTerm,
		&s.Hard.Term, &s.Hard.Vote, &s.Hard.Commit} {
		*v = r.u64()
	}
	s.Conf = raftpb.ConfState{Voters: r.ids(), Learners: r.ids()}
	if version%2 == 0 {
		s.Conf.VotersOutgoing, s.Conf.LearnersNext = r.ids(), r.ids()
		leave := r.u8()
		s.Conf.AutoLeave = leave == 1
		if r.err == nil && (!s.joint() || leave > 1) {
			return fmt.Errorf("%w: version %d without a joint membership", ErrBadState, version)
		}
	}
	s.Peers = nil
	for range r.count(28) {
		p := Peer{ReplicaID: r.u64(), NodeID: r.u64(), StoreID: r.u64()}
		p.Addr = string(r.bytes())
		s.Peers = append(s.Peers, p)
	}
	if s.Erased = nil; version >= stateErased {
		s.Erased = r.runs()
	}
	if r.err != nil {
		return fmt.Errorf("%w: %w", ErrBadState, r.err)
	}
	return s.decodeTable(r.b, version)
}

// decodeTable reads what stands at the end of a state: the table, and zeroes.
func (s *State) decodeTable(b []byte, version uint8) error {
	var table sessions
	decode := table.decode
	if version <= oldStates {
		decode = table.decodeFlat
	}
	rest, err := decode(b)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBadState, err)
	}
	s.Sessions = append([]byte(nil), b[:len(b)-len(rest)]...)
	if version <= oldStates {
		s.Sessions = table.appendTo(nil)
	}
	for _, c := range rest {
		if c != 0 {
			return fmt.Errorf("%w: bytes behind its end", ErrBadState)
		}
	}
	return nil
}
