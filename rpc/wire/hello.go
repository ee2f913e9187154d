package wire

import (
	"encoding/binary"
	"fmt"
)

// Metadata of a greeting, the first frame each way (OpHello):
//
//	 0  version u32       4 reserved u32 = 0    8 node id u64
//	16  cluster len u16  18 role len u16       20 name len u16
//	22  reserved u16 = 0
//	24  cluster id, role, name
//
// The version stands first and alone decides whether the rest may be read.

const helloFixed = 24

// Hello introduces one end of a connection to the other.
type Hello struct {
	// Version is the newest protocol version the sender speaks.
	Version uint32
	// ClusterID names the cluster; empty when the sender does not know it yet,
	// which the other end accepts.
	ClusterID string
	// NodeID is the sender's node id, 0 for a client.
	NodeID uint64
	// Role says what the sender is ("client", "node", "gateway"); Name is for
	// log lines.
	Role, Name string
}

// AppendTo appends the encoding to dst; strings above MaxName bytes are cut.
func (h *Hello) AppendTo(dst []byte) []byte {
	cluster, role, name := cut(h.ClusterID, MaxName), cut(h.Role, MaxName), cut(h.Name, MaxName)
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, h.Version)
	dst = le.AppendUint32(dst, 0)
	dst = le.AppendUint64(dst, h.NodeID)
	dst = le.AppendUint16(dst, uint16(len(cluster)))
	dst = le.AppendUint16(dst, uint16(len(role)))
	dst = le.AppendUint16(dst, uint16(len(name)))
	dst = le.AppendUint16(dst, 0)
	dst = append(dst, cluster...)
	dst = append(dst, role...)
	return append(dst, name...)
}

// Decode fills h from meta. A newer version than this build's gives an error
// of class ErrVersion that names both, anything malformed one of class
// ErrMeta.
func (h *Hello) Decode(meta []byte) error {
	le := binary.LittleEndian
	if len(meta) >= 4 {
		if v := le.Uint32(meta); v == 0 || v > ProtocolVersion {
			return fmt.Errorf("%w: peer speaks protocol version %d, this build up to %d: "+
				"upgrade this side first", ErrVersion, v, ProtocolVersion)
		}
	}
	if len(meta) < helloFixed {
		return fmt.Errorf("%w: hello of %d bytes, want at least %d", ErrMeta, len(meta), helloFixed)
	}
	cluster, role, name := int(le.Uint16(meta[16:])), int(le.Uint16(meta[18:])),
		int(le.Uint16(meta[20:]))
	switch {
	case le.Uint32(meta[4:]) != 0 || le.Uint16(meta[22:]) != 0:
		return fmt.Errorf("%w: hello's reserved bytes are not 0", ErrMeta)
	case cluster > MaxName || role > MaxName || name > MaxName:
		return fmt.Errorf("%w: hello with strings of %d, %d and %d bytes, limit %d",
			ErrMeta, cluster, role, name, MaxName)
	case len(meta) != helloFixed+cluster+role+name:
		return fmt.Errorf("%w: hello of %d bytes, its parts make %d",
			ErrMeta, len(meta), helloFixed+cluster+role+name)
	}
	h.Version, h.NodeID = le.Uint32(meta), le.Uint64(meta[8:])
	s := string(meta[helloFixed:])
	h.ClusterID, h.Role, h.Name = s[:cluster], s[cluster:cluster+role], s[cluster+role:]
	return nil
}

// Accept tells whether own may talk to peer: the same cluster, or one of them
// does not know its cluster yet. The error is of class ErrWrongCluster and
// names both.
func (h *Hello) Accept(peer Hello) error {
	if h.ClusterID != "" && peer.ClusterID != "" && h.ClusterID != peer.ClusterID {
		return fmt.Errorf("%w: peer is of cluster %q, this side of %q: check the address",
			ErrWrongCluster, peer.ClusterID, h.ClusterID)
	}
	return nil
}
