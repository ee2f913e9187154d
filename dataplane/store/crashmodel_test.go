package store

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
)

// page is the content of a block; nil is a block of zeroes.
type page [block]byte

var noBytes page

func (p *page) bytes() []byte {
	if p == nil {
		return noBytes[:]
	}
	return p[:]
}

// image is everything a lone store holds. Pages are never changed once they are in an image.
type image [loneChunks * loneBlocks]*page

// operation is a client's write, or with no data its zeroing of a range.
type operation struct {
	chunk          uint64
	offset, length uint32
	data           []byte
	id, lowWater   uint64
}

// after is an image with an operation done.
func (m image) after(op *operation) image {
	for n := op.offset; n < op.offset+op.length; {
		at := int(op.chunk)*loneBlocks + int(n/block)
		size := min(block-n%block, op.offset+op.length-n)
		p := new(page)
		copy(p[:], m[at].bytes())
		if op.data == nil {
			clear(p[n%block:][:size])
		} else {
			copy(p[n%block:][:size], op.data[n-op.offset:])
		}
		m[at] = p
		n += size
	}
	return m
}

// serialBytes are bytes that tell which operation wrote them and where: every 8 bytes say so, so
// that no sector of one write passes for one of another.
func serialBytes(serial uint64, n uint32) []byte {
	p := make([]byte, n)
	for i := 0; i+8 <= len(p); i += 8 {
		binary.LittleEndian.PutUint64(p[i:], serial<<32|uint64(i))
	}
	return p
}

// words shows the sectors of a block by the operations that wrote them.
func words(p []byte) string {
	var list []string
	for off := 0; off < len(p); off += 512 {
		list = append(list, fmt.Sprint(binary.LittleEndian.Uint64(p[off:])>>32))
	}
	return "[" + strings.Join(list, " ") + "]"
}

// action is one step of a workload: an operation of the client, a checkpoint, an operation while
// a checkpoint is under way, or a flush.
type action struct {
	op         func(serial uint64) *operation
	checkpoint bool
	flush      bool
}

// letters are the operations of workloads.
//
//	w  write of one block
//	o  overwrite of the same block and half of the next
//	b  big write of three blocks
//	t  trim: half a block and a whole one are zeroed
//	r  rotation: a write that fits into a new log segment only
//	c  checkpoint: chunk files durable, log before it released
//	x  recycling: a chunk is zeroed, its slot freed and taken again, and log released
//	k  a write while a checkpoint is under way
//	P  a whole chunk is written, from end to end
//	q  the second half of a chunk is written
//	f  flush: what is only in memory goes to the chunk files, not synchronised
var letters = map[byte][]action{
	'w': {{op: writeOf(0, 1*block, block)}},
	'o': {{op: writeOf(0, 1*block, block+block/2)}},
	'b': {{op: writeOf(0, 1*block, 3*block)}},
	't': {{op: zeroOf(0, 1*block+block/2, block+block/2)}},
	'r': {{op: writeOf(1, 0, 6*block)}},
	'c': {{checkpoint: true}},
	'x': {{op: zeroOf(0, 0, loneBlocks*block)}, {op: writeOf(0, 5*block, block)},
		{checkpoint: true}},
	'k': {{op: writeOf(0, 1*block, 2*block), checkpoint: true}},
	'f': {{flush: true}},
	// For stores that place:
	'P': {{op: writeOf(0, 0, 4*block)}, {op: writeOf(0, 4*block, 4*block)}},
	'q': {{op: writeOf(0, 4*block, 4*block)}},
	// Of the time before a workload only:
	'L': {{op: writeOf(0, 0, 6*block)}},
	'M': {{op: writeOf(2, 0, 4*block)}},
}

const alphabet = "wobtrcxkf"

func writeOf(chunk uint64, offset, length uint32) func(uint64) *operation {
	return func(serial uint64) *operation {
		return &operation{chunk: chunk, offset: offset, length: length,
			data: serialBytes(serial, length), id: serial}
	}
}

func zeroOf(chunk uint64, offset, length uint32) func(uint64) *operation {
	return func(serial uint64) *operation {
		return &operation{chunk: chunk, offset: offset, length: length, id: serial}
	}
}

// workloads are all words of a length over the operations.
func workloads(length int) []string { return wordsOf(alphabet, length) }

// placedWorkloads are those for stores that place.
func placedWorkloads(length int) []string { return wordsOf("wobtrcxkfPq", length) }

func wordsOf(alphabet string, length int) []string {
	if length == 0 {
		return []string{""}
	}
	var list []string
	for _, w := range wordsOf(alphabet, length-1) {
		for _, c := range alphabet {
			list = append(list, w+string(c))
		}
	}
	return list
}

// client is what one client of the lone store knows: what was acknowledged to it, and what it has
// under way.
type client struct {
	serial  uint64
	was     image
	will    image
	current *operation // under way; nil: none
	last    *operation // acknowledged last
}

// begin issues an operation.
func (c *client) begin(make func(uint64) *operation) *operation {
	c.serial++
	op := make(c.serial)
	op.lowWater = op.id
	c.current, c.will = op, c.was.after(op)
	return op
}

// acknowledged ends it.
func (c *client) acknowledged() { c.was, c.last, c.current = c.will, c.current, nil }

// loneState is the state that the control plane gives a lone replica.
func loneState() *copyset.State {
	return copyset.NewState(loneID, 1, 1, []copyset.Peer{{ReplicaID: 1, StoreID: 1}})
}
