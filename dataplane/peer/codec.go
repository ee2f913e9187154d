package peer

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
)

// ErrBadRequest marks a request or an answer between nodes that does not decode.
var ErrBadRequest = errors.New("peer: bad request")

// The metadata of requests between nodes, little-endian, 8 bytes each unless noted:
//
//	OpSnapList: copyset | replica | applied
//	OpSnapRead: copyset | replica | volume | chunk | applied | first block, u32 | count, u32
//	OpSnapSums: as OpSnapRead
//
// A replica that has not applied so much yet answers retry. The answer to a list has a payload of
// (volume, chunk) pairs. The answer to a read is that of a client's read; without a payload, all
// blocks read as zero. The answer to a request for sums is that of a read, and never has a payload.

// MaxChunks bounds the chunks of one list, so that it fits a frame.
const MaxChunks = 1 << 16

const (
	listRequest   = 24
	blocksRequest = 48
)

// ListRequest is the metadata of an OpSnapList.
type ListRequest struct{ Copyset, Replica, Applied uint64 }

// AppendTo appends the encoding.
func (r *ListRequest) AppendTo(dst []byte) []byte {
	for _, v := range [...]uint64{r.Copyset, r.Replica, r.Applied} {
		dst = binary.LittleEndian.AppendUint64(dst, v)
	}
	return dst
}

// Decode reads the encoding.
func (r *ListRequest) Decode(b []byte) error {
	if len(b) != listRequest {
		return fmt.Errorf("%w: %d bytes, want %d", ErrBadRequest, len(b), listRequest)
	}
	for i, v := range [...]*uint64{&r.Copyset, &r.Replica, &r.Applied} {
		*v = binary.LittleEndian.Uint64(b[8*i:])
	}
	return nil
}

// BlocksRequest is the metadata of an OpSnapRead or an OpSnapSums.
type BlocksRequest struct {
	Copyset, Replica, Volume, Chunk, Applied uint64
	First, Count                             uint32
}

// AppendTo appends the encoding.
func (r *BlocksRequest) AppendTo(dst []byte) []byte {
	for _, v := range [...]uint64{r.Copyset, r.Replica, r.Volume, r.Chunk, r.Applied} {
		dst = binary.LittleEndian.AppendUint64(dst, v)
	}
	dst = binary.LittleEndian.AppendUint32(dst, r.First)
	return binary.LittleEndian.AppendUint32(dst, r.Count)
}

// Decode reads the encoding.
func (r *BlocksRequest) Decode(b []byte) error {
	if len(b) != blocksRequest {
		return fmt.Errorf("%w: %d bytes, want %d", ErrBadRequest, len(b), blocksRequest)
	}
	for i, v := range [...]*uint64{&r.Copyset, &r.Replica, &r.Volume, &r.Chunk, &r.Applied} {
		*v = binary.LittleEndian.Uint64(b[8*i:])
	}
	r.First, r.Count = binary.LittleEndian.Uint32(b[40:]), binary.LittleEndian.Uint32(b[44:])
	return nil
}

// AppendChunks appends the payload of the answer to a list.
func AppendChunks(dst []byte, chunks []copyset.Chunk) []byte {
	for _, c := range chunks {
		dst = binary.LittleEndian.AppendUint64(dst, c.Volume)
		dst = binary.LittleEndian.AppendUint64(dst, c.Index)
	}
	return dst
}

// DecodeChunks reads what AppendChunks wrote.
func DecodeChunks(b []byte) ([]copyset.Chunk, error) {
	if len(b)%16 != 0 || len(b)/16 > MaxChunks {
		return nil, fmt.Errorf("%w: chunk list of %d bytes", ErrBadRequest, len(b))
	}
	out := make([]copyset.Chunk, 0, len(b)/16)
	for ; len(b) > 0; b = b[16:] {
		out = append(out, copyset.Chunk{Volume: binary.LittleEndian.Uint64(b),
			Index: binary.LittleEndian.Uint64(b[8:])})
	}
	return out, nil
}
