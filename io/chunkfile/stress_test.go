package chunkfile

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// stress lets goroutines write, zero, read and checkpoint their own blocks of shared chunks
// while chunks come and go beside them, with room for two tables in the cache.
func stress(t *testing.T, d disk.Disk, rounds int) {
	const chunks, workers = 4, 4 // each worker has a quarter of every chunk
	cfg := testConfig(d)
	cfg.CacheChunks = 2
	cfg.Reserve = 1
	p := openPool(t, cfg)
	for i := range uint64(chunks) {
		create(t, p, ID{Group: 1, Index: i})
	}
	model := make([][chunks][testBlocks]uint64, workers)
	var wait sync.WaitGroup
	for w := range workers {
		wait.Go(func() {
			r := stressWorker{t: t, pool: p, id: w, rng: rand.New(rand.NewPCG(uint64(w), 5))}
			for n := range rounds {
				r.round(n, &model[w])
			}
		})
	}
	wait.Wait()
	for i := range uint64(chunks) {
		checkpoint(t, get(t, p, ID{Group: 1, Index: i}), 7)
	}
	if s := p.Stats(); s.Dirty != 0 || s.CorruptBlocks != 0 || s.TableLoads == 0 {
		t.Errorf("%+v", s)
	}
	closePool(t, p)
	p = openPool(t, testConfig(d))
	defer closePool(t, p)
	if len(p.Damage()) != 0 {
		t.Fatal(p.Damage())
	}
	for i := range uint64(chunks) {
		var want [testBlocks]uint64
		for b := range want {
			want[b] = model[b*workers/testBlocks][i][b]
		}
		expect(t, get(t, p, ID{Group: 1, Index: i}), 0, want[:]...)
	}
}

type stressWorker struct {
	t    *testing.T
	pool *Pool
	id   int
	rng  *rand.Rand
}

func (r *stressWorker) round(n int, model *[4][testBlocks]uint64) {
	const share = testBlocks / 4
	i := r.rng.IntN(len(model))
	c, ok := r.pool.Get(ID{Group: 1, Index: uint64(i)})
	if !ok {
		r.t.Error("a chunk is gone")
		return
	}
	block := r.id*share + r.rng.IntN(share)
	switch r.rng.IntN(8) {
	case 0:
		if err := checkpointErr(c, uint64(n)); err != nil {
			r.t.Error(err)
		}
	case 1:
		c.Zero(block, 1)
		model[i][block] = 0
	case 2:
		r.passing(uint64(n))
	case 3, 4, 5:
		value := uint64(n*100 + r.id + 1)
		if err := perform(c, writeIO(block, value), true); err != nil {
			r.t.Error(err)
		}
		model[i][block] = value
	default:
		x := readIO(r.id*share, share)
		if err := perform(c, x, false); err != nil {
			r.t.Error(err)
			return
		}
		want := fmt.Sprint(model[i][r.id*share:][:share])
		if got := fmt.Sprint(values(r.t, x)); got != want {
			r.t.Errorf("chunk %v blocks %d..: got %s, want %s", c.ID(), r.id*share, got, want)
		}
	}
}

// passing creates a chunk, uses it and deletes it.
func (r *stressWorker) passing(n uint64) {
	id := ID{Group: 2, Volume: uint64(r.id), Index: n}
	c, err := r.pool.Create(id)
	if err != nil {
		r.t.Error(err)
		return
	}
	x := writeIO(r.rng.IntN(testBlocks), n+1)
	x.Done = func(*IO) {}
	c.Write(x) // in flight while the chunk is deleted
	if n%2 == 0 {
		c.Checkpoint(n, func(err error) {
			if err != nil && !errors.Is(err, ErrDeleted) {
				r.t.Error(err)
			}
		})
	}
	if err := r.pool.Delete(id); err != nil {
		r.t.Error(err)
	}
}

func TestManyGoroutinesOnASimulatedDisk(t *testing.T) {
	for seed := range uint64(3) {
		stress(t, disk.NewSim(disk.SimConfig{Seed: seed, Reorder: true}), 300)
	}
}

func TestManyGoroutinesOnTheRealDisk(t *testing.T) {
	onRealDisks(t, func(t *testing.T, d disk.Disk) { stress(t, d, 60) })
}

// onRealDisks runs f on a directory, with io_uring and without.
func onRealDisks(t *testing.T, f func(t *testing.T, d disk.Disk)) {
	for _, noURing := range []bool{false, true} {
		t.Run(fmt.Sprintf("NoURing=%v", noURing), func(t *testing.T) {
			d, err := disk.OpenDir(t.TempDir(), disk.Config{NoURing: noURing, Logger: quiet()})
			if err != nil {
				t.Fatal(err)
			}
			f(t, d)
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
