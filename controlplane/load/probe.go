package load

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// probe makes calls of the command line, one after the other, and notes how long each took.
type probe struct {
	conn *admin.Clients

	mu    sync.Mutex
	calls map[string]*latencies
	made  int
}

type latencies struct {
	took   []time.Duration
	failed int
}

// between calls. Each kind comes five times in a second then.
const between = time.Second / 15

var kinds = []string{"status", "volume list", "volume create"}

func newProbe(addr string) (*probe, error) {
	conn, err := admin.Dial(addr, admin.WithCallTimeout(30*time.Second))
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	return &probe{conn: conn, calls: map[string]*latencies{}}, nil
}

func (p *probe) run(ctx context.Context) {
	tick := time.NewTicker(between)
	defer tick.Stop()
	for i := 0; ctx.Err() == nil; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			kind := kinds[i%len(kinds)]
			began := time.Now()
			err := p.call(ctx, kind)
			p.note(ctx, kind, time.Since(began), err)
		}
	}
}

func (p *probe) call(ctx context.Context, kind string) (err error) {
	switch kind {
	case kinds[0]:
		_, err = p.conn.Admin.ClusterStatus(ctx, &v1.ClusterStatusRequest{})
	case kinds[1]:
		_, err = p.conn.Admin.ListVolumes(ctx, &v1.ListVolumesRequest{PageSize: 100})
	case kinds[2]:
		p.made++
		_, err = p.conn.Admin.CreateVolume(ctx, &v1.CreateVolumeRequest{
			Name: fmt.Sprint("v", p.made), SizeBytes: 100 << 30})
	}
	return err
}

func (p *probe) note(ctx context.Context, kind string, d time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.calls[kind]
	if l == nil {
		l = &latencies{}
		p.calls[kind] = l
	}
	switch {
	case err == nil:
		l.took = append(l.took, d)
	case ctx.Err() == nil:
		l.failed++
	}
}

// take returns what was noted since it was called last.
func (p *probe) take() map[string]*latencies {
	p.mu.Lock()
	defer p.mu.Unlock()
	calls := p.calls
	p.calls = map[string]*latencies{}
	for _, l := range calls {
		slices.Sort(l.took)
	}
	return calls
}

// quantile of the latencies, which are sorted; 0 where there are none.
func (l *latencies) quantile(q float64) time.Duration {
	if l == nil || len(l.took) == 0 {
		return 0
	}
	return l.took[min(len(l.took)-1, int(q*float64(len(l.took))))]
}
