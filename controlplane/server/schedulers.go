package server

import (
	"fmt"
	"strings"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/controlplane/schedule"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// An operator can pause each of the rules by which the cluster changes itself, as while many
// machines are moved, and nothing should be made anew that will be back in an hour. The pause is in
// the metadata: a control plane that takes over keeps it.

// schedulers are the rules, in the order of their urgency.
var schedulers = []struct {
	kind  schedule.Kind
	about string
	limit func(schedule.Limits) string
}{
	{schedule.TransferLeader, "leaders go to where they should be, and off slow or draining stores",
		func(l schedule.Limits) string {
			return fmt.Sprintf("%d in a round, a copyset every %v", l.PerRound, l.CoolDown)
		}},
	{schedule.ReplaceReplica, "damaged replicas are made anew on their store, or what replaced it",
		fillLimit},
	{schedule.RecoverReplica, "replicas of lost stores are made anew on others",
		func(l schedule.Limits) string {
			return fmt.Sprintf("after %v, %s", l.LostAfter, fillLimit(l))
		}},
	{schedule.DrainReplica, "draining stores give their replicas to others",
		func(l schedule.Limits) string {
			return fmt.Sprintf("%d of a store at a time, %s", l.Drains, fillLimit(l))
		}},
	{schedule.BalanceReplica, "stores are filled evenly for their size",
		func(l schedule.Limits) string {
			return fmt.Sprintf("%d at a time, or one for each hundred stores", l.Balances)
		}},
}

func fillLimit(l schedule.Limits) string {
	return fmt.Sprintf("%d filled on a store at a time", l.Rebuilds)
}

func (c *cluster) loadSchedulers(r meta.Reader) error {
	return meta.Schedulers.Scan(r, nil, nil, 0, func(_ meta.Key, s *v1.Scheduler) error {
		c.paused[schedule.Kind(s.Kind)] = s
		return nil
	})
}

// limits are those that hold now, with what is paused.
func (c *cluster) limits() schedule.Limits {
	lim := c.tuned
	for kind := range c.paused {
		lim.Paused = lim.Paused.With(kind)
	}
	return lim
}

func (c *cluster) listSchedulers(*v1.ListSchedulersRequest) (*v1.ListSchedulersResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	resp := &v1.ListSchedulersResponse{}
	for i := range schedulers {
		resp.Schedulers = append(resp.Schedulers, c.showScheduler(i))
	}
	return resp, nil
}

func (c *cluster) showScheduler(i int) *v1.Scheduler {
	rule := &schedulers[i]
	s := &v1.Scheduler{Kind: string(rule.kind), About: rule.about,
		Limits: rule.limit(c.tuned)}
	if p := c.paused[rule.kind]; p != nil {
		s.Paused, s.PausedUnixNs, s.Note = true, p.PausedUnixNs, p.Note
	}
	for _, g := range c.under() {
		if whyOf(g.rec) == rule.kind {
			s.Running++
		}
	}
	if rule.kind == schedule.TransferLeader {
		for _, n := range c.nodes {
			s.Running += uint64(len(n.transfers))
		}
	}
	for i := range c.waits {
		if c.waits[i].Kind == rule.kind {
			s.Waiting++
		}
	}
	s.Waiting += uint64(c.unlisted[rule.kind])
	return s
}

func (c *cluster) setScheduler(req *v1.SetSchedulerRequest) (*v1.SetSchedulerResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, err := schedulerOf(req.Kind)
	if err != nil {
		return nil, err
	}
	kind := schedulers[at].kind
	if (c.paused[kind] != nil) == req.Paused {
		return &v1.SetSchedulerResponse{Scheduler: c.showScheduler(at)}, nil
	}
	rec := &v1.Scheduler{Kind: req.Kind, PausedUnixNs: c.cfg.Now().UnixNano(),
		Note: clip(req.Note, maxTextBytes)}
	err = c.update(func(tx meta.Tx) error {
		if req.Paused {
			return meta.Schedulers.Put(tx, meta.Key(req.Kind), rec)
		}
		return meta.Schedulers.Delete(tx, meta.Key(req.Kind))
	}, schedulerNews(rec, req.Paused))
	if err != nil {
		return nil, err
	}
	if req.Paused {
		c.paused[kind] = rec
	} else {
		delete(c.paused, kind)
	}
	c.log.Info("scheduler set", "kind", req.Kind, "paused", req.Paused, "note", rec.Note)
	return &v1.SetSchedulerResponse{Scheduler: c.showScheduler(at)}, nil
}

// schedulerOf finds a rule by its kind.
func schedulerOf(kind string) (at int, err error) {
	var kinds []string
	for i := range schedulers {
		kinds = append(kinds, string(schedulers[i].kind))
		if kinds[i] == kind {
			return i, nil
		}
	}
	return 0, admin.Errorf(admin.ErrInvalid, "control: scheduler %.40q: use one of %s", kind,
		strings.Join(kinds, ", "))
}

func schedulerNews(rec *v1.Scheduler, paused bool) news {
	kind, what := "scheduler-resumed", "goes on"
	if paused {
		kind, what = "scheduler-paused", "is paused"
		if rec.Note != "" {
			what += ": " + rec.Note
		}
	}
	return func() *meta.Event {
		return newEvent(eventInfo, kind, aCluster, 0, rec.Kind, "scheduler %s %s", rec.Kind, what)
	}
}

// pauseNotes says what is paused: somebody wants it so, and may have forgotten.
func (c *cluster) pauseNotes(now time.Time) (notes []string) {
	for i := range schedulers {
		p := c.paused[schedulers[i].kind]
		if p == nil {
			continue
		}
		note := fmt.Sprintf("scheduler %s has been paused for %s", p.Kind,
			ago(now, time.Unix(0, p.PausedUnixNs)))
		if p.Note != "" {
			note += ": " + p.Note
		}
		notes = append(notes, note)
	}
	return notes
}
