package chunkfile

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// twinStress lets goroutines write, in place and to twins, zero, read and checkpoint their own
// blocks of shared chunks, while slots are given back and other chunks take those.
type twinStress struct {
	t    *testing.T
	pool *Pool

	mu      sync.Mutex
	open    map[ID]*Twin
	lent    []*Twin       // all that were not given back
	pending map[*Twin]int // writes that are not turned yet, nor written otherwise
}

const twinStressChunks, twinStressWorkers = 3, 4

func stressTwins(t *testing.T, d disk.Disk, rounds int) {
	if raceEnabled {
		rounds /= 3
	}
	cfg := testConfig(d)
	cfg.CacheChunks, cfg.Reserve = 2, 3
	s := &twinStress{t: t, pool: openPool(t, cfg), open: map[ID]*Twin{},
		pending: map[*Twin]int{}}
	for i := range uint64(twinStressChunks) {
		create(t, s.pool, ID{Group: 1, Index: i})
	}
	workers := make([]*twinWorker, twinStressWorkers)
	var wait sync.WaitGroup
	for i := range workers {
		workers[i] = &twinWorker{twinStress: s, id: i, rng: rand.New(rand.NewPCG(uint64(i), 9))}
		wait.Go(func() {
			for n := range rounds {
				workers[i].round(uint64(n))
			}
		})
	}
	wait.Wait()
	s.finish()
	stats := s.pool.Stats()
	if stats.CorruptBlocks != 0 || stats.Adopted == 0 || stats.Lent != 0 || stats.Damaged != 0 ||
		stats.Used != twinStressChunks || stats.Dirty != 0 || stats.TableLoads == 0 {
		t.Errorf("%+v", stats)
	}
	closePool(t, s.pool)
	p := openPool(t, testConfig(d))
	defer closePool(t, p)
	if list := p.Damage(); len(list) != 0 {
		t.Fatal(list)
	}
	for i := range uint64(twinStressChunks) {
		var want []uint64
		for _, w := range workers {
			want = append(want, w.model[i][:]...)
		}
		expect(t, get(t, p, ID{Group: 1, Index: i}), 0, want...)
	}
}

// finish closes all twins, leaves every chunk with one slot and gives the others back.
func (s *twinStress) finish() {
	for _, tw := range s.lent {
		tw.Close()
	}
	for i := range uint64(twinStressChunks) {
		c := get(s.t, s.pool, ID{Group: 1, Index: i})
		checkpoint(s.t, c, 99)
	}
	s.giveBack()
	if len(s.lent) != 0 {
		s.t.Errorf("%d twins have not settled", len(s.lent))
	}
}

// claim gives blocks of the open twin of a chunk; nil: no slot is ready, or they were given before.
func (s *twinStress) claim(id ID, block, count int) *Twin {
	s.mu.Lock()
	defer s.mu.Unlock()
	tw := s.open[id]
	if tw == nil {
		if tw = s.pool.Lend(id); tw != nil {
			s.open[id], s.lent = tw, append(s.lent, tw)
		}
	}
	if tw == nil || !tw.Claim(block, count) {
		return nil
	}
	s.pending[tw]++
	return tw
}

// done ends what claim began.
func (s *twinStress) done(tw *Twin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending[tw]--
}

// close closes the twin of a chunk, as a store does before a checkpoint.
func (s *twinStress) close(id ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if tw := s.open[id]; tw != nil {
		tw.Close()
		delete(s.open, id)
	}
}

// giveBack gives back what has settled, and what a chunk has closed since.
func (s *twinStress) giveBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lent = slices.DeleteFunc(s.lent, func(tw *Twin) bool {
		if !tw.Settled() || s.pending[tw] > 0 {
			return false
		}
		delete(s.pending, tw)
		if s.open[tw.id] == tw {
			delete(s.open, tw.id)
		}
		s.pool.Unkeep(tw.Slot())
		return true
	})
}

// twinWorker has a share of the blocks of every chunk.
type twinWorker struct {
	*twinStress
	id    int
	rng   *rand.Rand
	model [twinStressChunks][testBlocks / twinStressWorkers]uint64
}

func (w *twinWorker) round(n uint64) {
	const share = testBlocks / twinStressWorkers
	i := w.rng.IntN(twinStressChunks)
	c := get(w.t, w.pool, ID{Group: 1, Index: uint64(i)})
	at := w.rng.IntN(share)
	block, count := w.id*share+at, 1+w.rng.IntN(share-at)
	data := series(n*1000+uint64(w.id)*100+1, count)
	switch w.rng.IntN(12) {
	case 0:
		w.close(c.ID())
		fallthrough
	case 1:
		if err := checkpointErr(c, n); err != nil {
			w.t.Error(err)
		}
	case 2:
		w.giveBack()
	case 3:
		c.Zero(block, count)
		clear(w.model[i][at : at+count])
	case 4:
		w.passing(n)
	case 5, 6:
		w.write(c, block, data)
		copy(w.model[i][at:], data)
	case 7, 8, 9:
		w.large(c, block, data)
		copy(w.model[i][at:], data)
	default:
		x := readIO(w.id*share, share)
		if err := perform(c, x, false); err != nil {
			w.t.Error(err)
		} else if got := values(w.t, x); !slices.Equal(got, w.model[i][:]) {
			w.t.Errorf("chunk %v blocks %d..: %v, want %v", c.ID(), x.Block, got, w.model[i])
		}
	}
}

func (w *twinWorker) write(c *Chunk, block int, data []uint64) {
	if err := perform(c, writeIO(block, data...), true); err != nil {
		w.t.Error(err)
	}
}

// large writes by a twin, or as others where it is not given the blocks or cannot turn them.
func (w *twinWorker) large(c *Chunk, block int, data []uint64) {
	tw := w.claim(c.ID(), block, len(data))
	if tw == nil {
		w.write(c, block, data)
		return
	}
	defer w.done(tw)
	crcs, err := twinWrite(tw, block, data...)
	if err != nil {
		w.t.Error(err)
		return
	}
	if ok, err := c.Turn(tw, block, crcs); err != nil {
		w.t.Error(err)
	} else if !ok {
		w.write(c, block, data)
	}
}

// passing makes a chunk, writes it from end to end by a twin, and deletes it with a read, or with a
// write and a move, in flight.
func (w *twinWorker) passing(n uint64) {
	id := ID{Group: 2, Volume: uint64(w.id), Index: n}
	c, err := w.pool.Create(id)
	if err != nil {
		w.t.Error(err)
		return
	}
	data := series(n*1000+uint64(w.id)*100+1, testBlocks)
	w.large(c, 0, data)
	expect(w.t, c, 0, data...)
	x, r := writeIO(w.rng.IntN(testBlocks), n), readIO(0, testBlocks)
	x.Done = func(x *IO) {
		if x.Err != nil {
			w.t.Error(x.Err)
		}
	}
	r.Done = x.Done
	if n%2 == 0 {
		c.Checkpoint(n, func(err error) {
			if err != nil && !errors.Is(err, ErrDeleted) {
				w.t.Error(err)
			}
		})
		c.Write(x)
	} else {
		c.Read(r)
	}
	if err := w.pool.Delete(id); err != nil {
		w.t.Error(err)
	}
	w.close(id)
}

func TestTwinsOfManyGoroutinesOnASimulatedDisk(t *testing.T) {
	for seed := range uint64(3) {
		stressTwins(t, disk.NewSim(disk.SimConfig{Seed: seed, Reorder: true}), 300)
	}
}

func TestTwinsOfManyGoroutinesOnTheRealDisk(t *testing.T) {
	onRealDisks(t, func(t *testing.T, d disk.Disk) { stressTwins(t, d, 60) })
}
