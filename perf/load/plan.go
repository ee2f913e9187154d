package load

import (
	"math/rand/v2"

	"github.com/ashlar-storage/ashlar/perf/job"
)

// plan decides which operation comes next. It is pure, and not safe for concurrent use.
type plan struct {
	job    *Job
	rng    *rand.Rand
	align  int64
	draw   drawer
	at     [2]int64 // of a linear run, in the region
	ops    int64
	bytes  int64
	writes int // since the last flush
	weight [2]int
	ledger *ledger // nil: nothing is verified
	share  float64 // of reads
}

func newPlan(j *Job) *plan {
	low, _ := j.bounds()
	p := &plan{job: j, rng: rand.New(rand.NewPCG(j.Seed, 1)), align: int64(low),
		share: float64(j.Reads) / 100}
	if j.Random {
		p.draw = newDrawer(uint64(j.Size/p.align), j.Distinct, j.Spread, j.Seed)
	}
	if j.openLoop() {
		// Two Poisson processes together are one, of which each arrival is of the first with
		// the share of its rate.
		p.share = j.Rate[Read] / (j.Rate[Read] + j.Rate[Write])
	}
	for d, shares := range j.Sizes {
		for _, s := range shares {
			p.weight[d] += s.Weight
		}
	}
	if j.Verify != nil {
		p.ledger = newLedger(j.Verify, low, j.Offset, j.Size, j.Seed)
	}
	return p
}

// next fills in what op is to do, up to the size of its data; false when there is nothing more.
func (p *plan) next(op *Op, buffer []byte) bool {
	j := p.job
	if j.SyncEvery > 0 && p.writes >= j.SyncEvery {
		p.writes = 0
		op.Kind, op.Off, op.Data = Sync, 0, nil
		return true
	}
	if j.Ops > 0 && p.ops >= j.Ops || j.Bytes > 0 && p.bytes >= j.Bytes {
		return false
	}
	op.Kind = p.direction()
	n := int64(p.size(op.Kind))
	off := p.offset(op.Kind, n)
	if p.ledger != nil {
		off, op.stamp = p.ledger.take(off, op.Kind)
	}
	op.Off, op.Data = j.Offset+off, buffer[:n]
	p.ops++
	p.bytes += n
	if op.Kind == Write {
		p.writes++
	}
	return true
}

func (p *plan) direction() Kind {
	switch {
	case p.share >= 1:
		return Read
	case p.share <= 0:
		return Write
	case p.rng.Float64() < p.share:
		return Read
	}
	return Write
}

func (p *plan) size(kind Kind) int {
	shares := p.job.Sizes[kind]
	if len(shares) == 1 {
		return shares[0].Bytes
	}
	return pick(shares, p.rng.IntN(p.weight[kind]))
}

func pick(shares []job.Share, at int) int {
	for _, s := range shares {
		if at -= s.Weight; at < 0 {
			return s.Bytes
		}
	}
	return shares[len(shares)-1].Bytes
}

// offset is where in the region n bytes begin.
func (p *plan) offset(kind Kind, n int64) int64 {
	if p.draw == nil {
		if p.at[kind]+n > p.job.Size {
			p.at[kind] = 0
		}
		off := p.at[kind]
		p.at[kind] += n
		return off
	}
	off := int64(p.draw.next(p.rng)) * p.align
	if last := p.job.Size - n; off > last {
		off = last - last%p.align
	}
	return off
}
