package copyset

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
)

// ErrBadState marks bytes that are no checkpoint state of this version.
var ErrBadState = errors.New("copyset: bad state")

const stateVersion = 1

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
//	count, voters | count, learners | count, peers {replica, node, store, length, address}
//	exactly-once table (see sessions)
type State struct {
	Copyset, Epoch, Replica uint64
	Applied, AppliedTerm    uint64
	Hard                    raftpb.HardState
	Conf                    raftpb.ConfState
	Peers                   []Peer
	Sessions                []byte // the exactly-once table, encoded
}

// NewState is the state of a replica of a copyset that holds nothing yet.
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
	dst = append(dst, stateVersion)
	for _, v := range [...]uint64{s.Copyset, s.Epoch, s.Replica, s.Applied, s.AppliedTerm,
		s.Hard.Term, s.Hard.Vote, s.Hard.Commit} {
		dst = le.AppendUint64(dst, v)
	}
	for _, ids := range [...][]uint64{s.Conf.Voters, s.Conf.Learners} {
		dst = le.AppendUint32(dst, uint32(len(ids)))
		for _, id := range ids {
			dst = le.AppendUint64(dst, id)
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
	return append(dst, s.Sessions...)
}

// Decode reads a state; zero bytes may follow it, as it is stored in whole blocks. It fails with
// ErrBadState.
func (s *State) Decode(b []byte) error {
	r := reader{b: b}
	if v := r.u8(); v != stateVersion {
		return fmt.Errorf("%w: version %d, this build reads %d", ErrBadState, v, stateVersion)
	}
	for _, v := range [...]*uint64{&s.Copyset, &s.Epoch, &s.Replica, &s.Applied, &s.AppliedTerm,
		&s.Hard.Term, &s.Hard.Vote, &s.Hard.Commit} {
		*v = r.u64()
	}
	s.Conf = raftpb.ConfState{}
	for _, ids := range [...]*[]uint64{&s.Conf.Voters, &s.Conf.Learners} {
		for range r.count(8) {
			*ids = append(*ids, r.u64())
		}
	}
	s.Peers = nil
	for range r.count(28) {
		p := Peer{ReplicaID: r.u64(), NodeID: r.u64(), StoreID: r.u64()}
		p.Addr = string(r.bytes())
		s.Peers = append(s.Peers, p)
	}
	if r.err != nil {
		return fmt.Errorf("%w: %w", ErrBadState, r.err)
	}
	var table sessions
	rest, err := table.decode(r.b)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBadState, err)
	}
	s.Sessions = append([]byte(nil), r.b[:len(r.b)-len(rest)]...)
	for _, c := range rest {
		if c != 0 {
			return fmt.Errorf("%w: bytes behind its end", ErrBadState)
		}
	}
	return nil
}
