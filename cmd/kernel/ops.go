package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// op is one operation of the workload. Its number is its place in the workload, from 1, and the
// version that its blocks get.
type op struct {
	number uint64
	first  int // block, counted over all copysets and chunks; an op stays in one chunk
	count  int
	trim   bool
}

// batch is operations that are under way together; no two touch the same block.
type batch []op

// lone is an operation of a window: one block, sent by itself.
func lone(number uint64) op { return op{number: number, first: int(number) % 8, count: 1} }

// workloadOf is everything that a workload with that many windows does.
func workloadOf(seed uint64, ops, windows int) *oracle {
	r := newOracle()
	for phase := range phases {
		for _, b := range batches(seed, phase, ops, r.last()+1) {
			r.add(b)
		}
		if phase == windowPhase {
			for range windows * windowWrites {
				r.add(batch{lone(r.last() + 1)})
			}
		}
	}
	return r
}

// place tells where a block lies.
func place(b int) (copyset, chunk uint64, offset uint32) {
	const perChunk = chunkSize / blockSize
	c := b / perChunk
	return uint64(c/chunks) + 1, uint64(c % chunks), uint32(b%perChunk) * blockSize
}

// batches is the workload of one phase: small writes mostly, to few blocks so that they are written
// over and over, some large ones and some trims. Later phases reach chunks not used before.
func batches(seed uint64, phase, ops int, next uint64) []batch {
	const perChunk = chunkSize / blockSize
	rng := rand.New(rand.NewPCG(seed, uint64(phase)))
	var all []batch
	for ops > 0 {
		var b batch
		taken := map[int]bool{}
		for n := min(1+rng.IntN(batchMax), ops); n > 0; n-- {
			reach := min(chunks, phase+1)
			chunk := rng.IntN(copysets)*chunks + rng.IntN(reach)
			o := op{count: 1 + rng.IntN(3), trim: rng.IntN(12) == 0}
			switch rng.IntN(10) {
			case 0:
				o.count = 1 + rng.IntN(opBlocksMax)
			case 1:
				o.count = 1 + rng.IntN(32)
			}
			span := perChunk
			if rng.IntN(3) > 0 {
				span = max(o.count, 12)
			}
			o.first = chunk*perChunk + rng.IntN(span-o.count+1)
			if !take(taken, o) {
				continue
			}
			o.number = next
			next++
			ops--
			b = append(b, o)
		}
		if len(b) > 0 {
			all = append(all, b)
		}
	}
	return all
}

func take(taken map[int]bool, o op) bool {
	for i := range o.count {
		if taken[o.first+i] {
			return false
		}
	}
	for i := range o.count {
		taken[o.first+i] = true
	}
	return true
}

// stampBytes is how often a block says what it is: a block put together of two is seen.
const stampBytes = 32

// fill makes the bytes of an operation.
func (o op) fill() []byte {
	p := make([]byte, o.count*blockSize)
	for at := 0; at < len(p); at += stampBytes {
		stamp(p[at:at+stampBytes], o.first+at/blockSize, at%blockSize, o.number)
	}
	return p
}

func stamp(p []byte, block, at int, version uint64) {
	binary.LittleEndian.PutUint64(p, version)
	binary.LittleEndian.PutUint64(p[8:], uint64(block))
	binary.LittleEndian.PutUint64(p[16:], uint64(at))
	binary.LittleEndian.PutUint64(p[24:], ^version*0x9e3779b97f4a7c15)
}

// version tells which operation a block is of; 0 for a block of zeroes.
func version(p []byte, block int) (uint64, error) {
	v := binary.LittleEndian.Uint64(p)
	var want [stampBytes]byte
	for at := 0; at < len(p); at += stampBytes {
		if v != 0 {
			stamp(want[:], block, at, v)
		}
		if [stampBytes]byte(p[at:at+stampBytes]) != want {
			return 0, fmt.Errorf("block %d is no block of one write: at byte %d it is not of "+
				"operation %d", block, at, v)
		}
	}
	return v, nil
}

// oracle knows which operations a block may be of.
type oracle struct {
	ops     []op       // by number, from 1; ops[0] is none
	history [][]uint64 // per block, the operations on it in order
}

func newOracle() *oracle { return &oracle{ops: make([]op, 1), history: make([][]uint64, blocks)} }

func (r *oracle) add(b batch) {
	for _, o := range b {
		r.ops = append(r.ops, o)
		for i := range o.count {
			r.history[o.first+i] = append(r.history[o.first+i], o.number)
		}
	}
}

// last is the number of the last operation.
func (r *oracle) last() uint64 { return uint64(len(r.ops) - 1) }

// check judges a block as it was found when the operations up to issued had been sent and those
// that done tells had been acknowledged. held reports whether the block had to hold something.
func (r *oracle) check(block int, p []byte, issued uint64, done func(uint64) bool) (held bool,
	err error) {
	found, err := version(p, block)
	if err != nil {
		return true, err
	}
	// Newest first: what is under way may be there, the newest acknowledged ends the search.
	h := r.history[block]
	newest := uint64(0)
	for i := len(h) - 1; i >= 0; i-- {
		n := h[i]
		if n > issued && !done(n) {
			continue
		}
		if r.shows(n, found) {
			return done(n) || held, nil
		}
		if done(n) {
			newest, held = n, true
			break
		}
	}
	if newest == 0 && found == 0 {
		return false, nil
	}
	return held, fmt.Errorf("block %d is of operation %d; acknowledged is %d, sent is %d", block,
		found, newest, issued)
}

// shows reports whether a block of that version is what operation n leaves.
func (r *oracle) shows(n, version uint64) bool {
	if r.ops[n].trim {
		return version == 0
	}
	return version == n
}
