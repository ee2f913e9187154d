package store

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/internal/evidence"
	"github.com/ashlar-storage/ashlar/io/disk"
	"github.com/ashlar-storage/ashlar/io/wal"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

var corruptAll = flag.Bool("corrupt.all", false, "every mutation of the sweeps")

const (
	sweepChunks = 2
	sweepBlocks = 12 // of each chunk; half of them written again after the checkpoint
)

// world is the disks of three stores, and what their replicas promised.
type world struct {
	disks []*disk.Sim
	want  map[[3]uint64][]byte // copyset, chunk, block
}

func newWorld(t *testing.T) *world {
	w := &world{want: map[[3]uint64][]byte{}}
	t.Run("prepare", func(t *testing.T) {
		r := newRig(t, 3, nil)
		w.write(r, 0, sweepBlocks)
		for i := range r.disks {
			r.checkpoint(i)
		}
		w.write(r, 0, sweepBlocks/2)
		for i := range r.disks {
			eventually(t, "every replica has everything", func() bool {
				for id := uint64(1); id <= copysets; id++ {
					if r.status(i, id).Applied != r.status(r.leader(id), id).Applied {
						return false
					}
				}
				return true
			})
		}
		for _, d := range r.disks {
			w.disks = append(w.disks, d.Crash(disk.CrashPlan{Keep: disk.KeepNothing}))
		}
	})
	return w
}

// write writes blocks that are all different, and different from those before.
func (w *world) write(r *rig, from, to uint64) {
	for id := uint64(1); id <= copysets; id++ {
		for chunk := range uint64(sweepChunks) {
			for b := from; b < to; b++ {
				key := [3]uint64{id, chunk, b}
				rng := rand.New(rand.NewPCG(uint64(len(w.want))+to, id<<32|chunk<<16|b))
				data := make([]byte, block)
				for i := range data {
					data[i] = byte(rng.Uint32())
				}
				w.want[key] = data
				r.mustWrite(id, chunk, uint32(b)*block, data)
			}
		}
	}
}

// clone is the disks, to be mutated.
func (w *world) clone() []*disk.Sim {
	out := make([]*disk.Sim, len(w.disks))
	for i, d := range w.disks {
		out[i] = d.Crash(disk.CrashPlan{Keep: disk.KeepAll})
	}
	return out
}

// tally counts what came of the mutations.
type tally struct {
	mutations, reads, right, refused, wrong, repaired, corrupt, damaged int64
}

// restart starts the stores on mutated disks, has every replica that runs lead in turn, and reads
// everything through it.
func (w *world) restart(t *testing.T, name string, disks []*disk.Sim, sum *tally) {
	t.Run(name, func(t *testing.T) {
		r := newRig(t, len(disks), func(r *rig) { r.disks, r.restarted = disks, true })
		for id := uint64(1); id <= copysets; id++ {
			for lead := range disks {
				if r.status(lead, id).Err != nil {
					sum.damaged++
					continue
				}
				r.handTo(id, lead)
				w.readAll(r, id, sum)
			}
		}
		for i := range disks {
			rep := r.store(uint64(i)).Report()
			sum.repaired += int64(rep.Repaired)
			sum.corrupt += int64(rep.CorruptBlocks)
		}
	})
}

// handTo makes a replica the leader, if it can be.
func (r *rig) handTo(id uint64, lead int) {
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		now := r.leader(id)
		if now == lead {
			return
		}
		r.store(uint64(now)).Transfer(id, uint64(lead+1))
		for range 20 {
			if r.status(lead, id).Serving {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

func (w *world) readAll(r *rig, id uint64, sum *tally) {
	for key, want := range w.want {
		if key[0] != id {
			continue
		}
		res := r.read(id, key[1], uint32(key[2])*block, block)
		sum.reads++
		switch {
		case res.status != wire.StatusOK:
			sum.refused++
		case bytes.Equal(res.body, want):
			sum.right++
		default:
			sum.wrong++
			r.t.Errorf("copyset %d chunk %d block %d: wrong bytes are returned", id, key[1],
				key[2])
		}
	}
}

func (sum *tally) record(t *testing.T, name string) {
	t.Helper()
	if sum.reads == 0 || sum.wrong > 0 || sum.right+sum.refused != sum.reads {
		t.Errorf("%+v", *sum)
	}
	evidence.Record(t, evidence.Item{Lane: "corrupt", Name: name, Promises: []string{"P4", "P5"},
		Test: "dataplane/store " + t.Name(), Counts: map[string]int64{
			"mutations": sum.mutations, "reads": sum.reads, "reads right": sum.right,
			"reads refused": sum.refused, "wrong": sum.wrong, "repaired": sum.repaired,
			"bad blocks seen": sum.corrupt, "copysets damaged": sum.damaged}})
}

// pages calls f for every block of a folder's files.
func pages(t *testing.T, d *disk.Sim, dir string, f func(name string, off int64, page []byte)) {
	t.Helper()
	names, err := d.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	page := make([]byte, block)
	for _, base := range names {
		name := dir + "/" + base
		file, err := d.Open(name)
		if err != nil || base == "log.id" {
			continue
		}
		for off := int64(0); off+block <= file.Size(); off += block {
			if _, err := file.ReadAt(page, off); err == nil {
				f(name, off, page)
			}
		}
		file.Close()
	}
}

// rotData mutates a sector of each block of the chunk files that pick chooses by its bytes, with
// the next of: flip, zero, neighbour's, another's, shifted.
func (w *world) rotData(t *testing.T, d *disk.Sim, pick func(page []byte) bool) (mutated int64) {
	n := 0
	var last []byte
	pages(t, d, "chunks", func(name string, off int64, page []byte) {
		if off < 48<<10 || bytes.Count(page, []byte{0}) == block {
			return // metadata is another sweep's
		}
		if n++; pick(page) {
			sector := n % (block / disk.SectorSize) * disk.SectorSize
			old := page[sector:][:disk.SectorSize]
			bad := slices.Clone(old)
			switch n % 5 {
			case 0:
				bad[n%disk.SectorSize] ^= 1 << (n % 8)
			case 1:
				clear(bad)
			case 2:
				copy(bad, page[(sector+disk.SectorSize)%block:])
			case 3:
				copy(bad, last)
			case 4:
				copy(bad[1:], old)
			}
			if !bytes.Equal(bad, old) {
				d.Corrupt(name, off+int64(sector), bad)
				mutated++
			}
		}
		last = slices.Clone(page)
	})
	return mutated
}

// Each replica in turn rots in all its data while it is down; and the three rot together, each in
// another third (the helix), so that every block has two good copies. Which third a block is in its
// bytes say, which are the same everywhere: the order of the files is each store's own.
func TestRotOfChunkDataIsRepairedAndNeverReturned(t *testing.T) {
	w := newWorld(t)
	var sum tally
	for i := range w.disks {
		disks := w.clone()
		sum.mutations += w.rotData(t, disks[i], func([]byte) bool { return true })
		w.restart(t, fmt.Sprintf("replica %d", i), disks, &sum)
	}
	disks := w.clone()
	for i, d := range disks {
		sum.mutations += w.rotData(t, d, func(page []byte) bool {
			return wire.CRC32C(page)%3 == uint32(i)
		})
	}
	w.restart(t, "helix", disks, &sum)
	if sum.refused > 0 || sum.repaired == 0 {
		t.Errorf("two good copies of each block, but %+v", sum)
	}
	sum.record(t, "store, rot of chunk data")
}

// One byte of a log record or a chunk's metadata on one replica, at one restart each.
func TestRotOfLogAndMetadataIsNeverReturned(t *testing.T) {
	w := newWorld(t)
	for area, dir := range map[string]string{"log": "log", "checksum area": "chunks"} {
		var places []func(d *disk.Sim)
		pages(t, w.disks[0], dir, func(name string, off int64, page []byte) {
			if dir == "chunks" && off >= 48<<10 || bytes.Count(page, []byte{0}) == block {
				return
			}
			at := len(places) * 131 % block
			for page[at] == 0 {
				at = (at + 1) % block
			}
			bad := page[at] ^ 1<<(len(places)%8)
			places = append(places, func(d *disk.Sim) {
				d.Corrupt(name, off+int64(at), []byte{bad})
			})
		})
		step := max(len(places)/3, 1)
		if *corruptAll {
			step = max(len(places)/16, 1)
		}
		var sum tally
		for k := 0; k < len(places); k += step {
			disks := w.clone()
			places[k](disks[0])
			sum.mutations++
			w.restart(t, fmt.Sprintf("%s %d", area, k), disks, &sum)
		}
		sum.record(t, "store, rot of the "+area)
	}
}

// Every byte of STORE, three ways: the store does not open, and nothing on its disk changes.
func TestEveryByteOfTheIdentityIsRejected(t *testing.T) {
	d := disk.NewSim(disk.SimConfig{})
	r := &rig{t: t, disks: []*disk.Sim{d}, stores: make([]*Store, 1)}
	data := adopted(t, r)
	step, tried := 1, int64(0)
	for off := 0; off < len(data); off += step {
		for _, bad := range []byte{data[off] ^ 1, 0, 0xFF} {
			rotten := slices.Clone(data)
			rotten[off] = bad
			r.disks[0] = disk.NewSim(disk.SimConfig{})
			if err := r.disks[0].WriteFile(identityFile, rotten); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(r.config(0)); !errors.Is(err, ErrForeign) {
				t.Fatalf("byte %d as %#x: %v", off, bad, err)
			}
			now, err := r.disks[0].ReadFile(identityFile)
			if err != nil || !bytes.Equal(now, rotten) {
				t.Fatal("a refused file was changed")
			}
			tried++
		}
	}
	evidence.Record(t, evidence.Item{Lane: "corrupt", Name: "every byte of the store's identity",
		Promises: []string{"P4", "P5"}, Test: "dataplane/store " + t.Name(),
		Counts: map[string]int64{"mutations": tried, "detected": 0, "repaired": 0,
			"rejected": tried, "harmless": 0, "wrong": 0}})
}

// adopted makes a store that belongs to a cluster, and returns its identity file.
func adopted(t *testing.T, r *rig) []byte {
	t.Helper()
	s, err := Open(r.config(0))
	if err != nil {
		t.Fatal(err)
	}
	s.Run()
	if err := s.Adopt("cluster", 7); err != nil {
		t.Fatal(err)
	}
	data, err := r.disks[0].ReadFile(identityFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	return data
}

// Payload that is bad in the log is counted and refused when a follower asks for it.
func TestPayloadThatIsBadInTheLogIsRefusedToAFollower(t *testing.T) {
	r := newRig(t, 1, nil)
	want := pattern(3, 2)
	r.mustWrite(1, 0, 0, want)
	crcs := wire.ChecksumPieces(nil, 0, want)
	d, s := r.disks[0], r.store(0)
	var at wal.LSN
	var name string
	var off int64
	pages(t, d, "log", func(n string, o int64, page []byte) {
		if bytes.Equal(page, want[:block]) {
			name, off = n, o
		}
	})
	at = s.wal.Tail()/(1<<20)*(1<<20) + wal.LSN(off)
	p := &copyset.Payload{At: at, Len: len(want)}
	b, err := r.pool.Get(len(want))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	dst := b.Bytes()
	if err := s.ReadLog(1, p, crcs, dst); err != nil || !bytes.Equal(dst, want) {
		t.Fatalf("sound payload: %v", err)
	}
	d.Corrupt(name, off+block+9, []byte{want[block+9] ^ 0x20})
	if err := s.ReadLog(1, p, crcs, dst); !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("bad payload: %v", err)
	}
	if rep := s.Report(); rep.CorruptBlocks != 1 {
		t.Errorf("%d bad blocks are counted", rep.CorruptBlocks)
	}
}
