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
//	OpSnapList: copyset | replica | applied, and for a page of the list: from volume | from chunk
//	OpSnapRead: copyset | replica | volume | chunk | applied | first block, u32 | count, u32 |
//	            flags, u32: bit 0 urgent | 0, u32
//	OpSnapSums: as OpSnapRead
//
// A replica that has not applied so much yet answers retry. The answer to a list has a payload of
// its version, u32, and then of each chunk the volume, the index and the last write. A page has the
// first chunks from the one given on, in their order; one with fewer than MaxChunks is the last.
// Who asks for no page, as the release before pages does, gets the whole list.
// The answer to a read is that of a client's read; without a payload, all blocks read as zero. The
// answer to a request for sums is that of a read, and never has a payload.

// MaxChunks bounds the chunks of one list, so that it fits a frame.
const MaxChunks = 1 << 15

const (
	listRequest   = 24
	pageRequest   = 40
	blocksRequest = 56
	flagUrgent    = 1 << 0
	listVersion   = 2 // 1 had no version, and pairs
	listHead      = 4
	listedChunk   = 24
	listBytesMax  = listHead + MaxChunks*listedChunk
)

// ListRequest is the metadata of an OpSnapList.
type ListRequest struct {
	Copyset, Replica, Applied uint64
	Paged                     bool
	From                      copyset.Chunk // where the page begins
}

// AppendTo appends the encoding.
func (r *ListRequest) AppendTo(dst []byte) []byte {
	for _, v := range [...]uint64{r.Copyset, r.Replica, r.Applied} {
		dst = binary.LittleEndian.AppendUint64(dst, v)
	}
	if r.Paged {
		dst = binary.LittleEndian.AppendUint64(dst, r.From.Volume)
		dst = binary.LittleEndian.AppendUint64(dst, r.From.Index)
	}
	return dst
}

// Decode reads the encoding.
func (r *ListRequest) Decode(b []byte) error {
	if len(b) != listRequest && len(b) != pageRequest {
		return fmt.Errorf("%w: %d bytes, want %d or %d", ErrBadRequest, len(b), listRequest,
			pageRequest)
	}
	r.Paged, r.From = len(b) == pageRequest, copyset.Chunk{}
	if r.Paged {
		r.From.Volume = binary.LittleEndian.Uint64(b[listRequest:])
		r.From.Index = binary.LittleEndian.Uint64(b[listRequest+8:])
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
	Urgent                                   bool // of a fill: at once, whatever clients there are
}

// AppendTo appends the encoding.
func (r *BlocksRequest) AppendTo(dst []byte) []byte {
	for _, v := range [...]uint64{r.Copyset, r.Replica, r.Volume, r.Chunk, r.Applied} {
		dst = binary.LittleEndian.AppendUint64(dst, v)
	}
	flags := uint32(0)
	if r.Urgent {
		flags |= flagUrgent
	}
	for _, v := range [...]uint32{r.First, r.Count, flags, 0} {
		dst = binary.LittleEndian.AppendUint32(dst, v)
	}
	return dst
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
	flags, zero := binary.LittleEndian.Uint32(b[48:]), binary.LittleEndian.Uint32(b[52:])
	if flags&^flagUrgent != 0 || zero != 0 {
		return fmt.Errorf("%w: unknown flags %#x, or reserved bytes that are not zero",
			ErrBadRequest, flags)
	}
	r.Urgent = flags&flagUrgent != 0
	return nil
}

// AppendChunks appends the payload of the answer to a list.
func AppendChunks(dst []byte, chunks []copyset.ListedChunk) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, listVersion)
	for _, c := range chunks {
		for _, v := range [...]uint64{c.Volume, c.Index, c.LastWrite} {
			dst = binary.LittleEndian.AppendUint64(dst, v)
		}
	}
	return dst
}

// DecodeChunks reads what AppendChunks wrote.
func DecodeChunks(b []byte) ([]copyset.ListedChunk, error) {
	n := (len(b) - listHead) / listedChunk
	if len(b) != listHead+n*listedChunk || n > MaxChunks {
		return nil, fmt.Errorf("%w: chunk list of %d bytes", ErrBadRequest, len(b))
	}
	if v := binary.LittleEndian.Uint32(b); v != listVersion {
		return nil, fmt.Errorf("%w: chunk list of version %d, this build reads %d", ErrBadRequest,
			v, listVersion)
	}
	out := make([]copyset.ListedChunk, n)
	for i := range out {
		c, at := &out[i], b[listHead+i*listedChunk:]
		for k, v := range [...]*uint64{&c.Volume, &c.Index, &c.LastWrite} {
			*v = binary.LittleEndian.Uint64(at[8*k:])
		}
	}
	return out, nil
}
