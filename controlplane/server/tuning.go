package server

import (
	"fmt"
	"strings"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/controlplane/schedule"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// The schedulers' limits can be changed while they work: a cluster that recovers at noon is not one
// that recovers at night. What was set is in the metadata, by name, so that a control plane that
// takes over has it; everything else is as configured.

// loadLimits takes what was set over the configuration. What this release does not know, or would
// not take, was set with another one; it stays written down, and has no effect.
func (c *cluster) loadLimits(r meta.Reader) error {
	return meta.Limits.Scan(r, nil, nil, 0, func(k meta.Key, l *v1.Limit) error {
		at, err := settingOf(string(k))
		if err == nil {
			err = at.Set(&c.tuned, l.Value)
		}
		if err != nil {
			c.log.Warn("a limit is not taken", "limit", string(k), "value", l.Value, "error", err)
			return nil
		}
		c.set[at.Name] = l
		return nil
	})
}

func settingOf(name string) (*schedule.Setting, error) {
	var names []string
	for _, s := range schedule.Settings() {
		if s.Name == name {
			return &s, nil
		}
		names = append(names, s.Name)
	}
	return nil, admin.Errorf(admin.ErrInvalid, "control: limit %.40q: use one of %s", name,
		strings.Join(names, ", "))
}

func (c *cluster) listLimits(*v1.ListLimitsRequest) (*v1.ListLimitsResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	resp := &v1.ListLimitsResponse{}
	for _, s := range schedule.Settings() {
		resp.Limits = append(resp.Limits, c.showLimit(&s))
	}
	return resp, nil
}

func (c *cluster) showLimit(s *schedule.Setting) *v1.Limit {
	l := &v1.Limit{Name: s.Name, About: s.About, Value: s.Value(c.tuned),
		DefaultValue: s.Value(c.cfg.Schedule)}
	l.Least, l.Most = s.Bounds()
	if was := c.set[s.Name]; was != nil {
		l.SetUnixNs, l.Note = was.SetUnixNs, was.Note
	}
	return l
}

func (c *cluster) setLimit(req *v1.SetLimitRequest) (*v1.SetLimitResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, err := settingOf(req.Name)
	if err != nil {
		return nil, err
	}
	next, key := c.tuned, meta.Key(at.Name)
	value := req.Value
	if value == "" {
		value = at.Value(c.cfg.Schedule)
	}
	if err := at.Set(&next, value); err != nil {
		return nil, admin.Errorf(admin.ErrInvalid, "control: limit %s: %.40q: %v", at.Name, value,
			err)
	}
	rec := &v1.Limit{Name: at.Name, Value: at.Value(next), SetUnixNs: c.cfg.Now().UnixNano(),
		Note: clip(req.Note, maxTextBytes)}
	err = c.update(func(tx meta.Tx) error {
		if req.Value == "" {
			return meta.Limits.Delete(tx, key)
		}
		return meta.Limits.Put(tx, key, rec)
	}, limitNews(rec, at.Value(c.tuned), req.Value == ""))
	if err != nil {
		return nil, err
	}
	c.tuned = next
	if req.Value == "" {
		delete(c.set, at.Name)
	} else {
		c.set[at.Name] = rec
	}
	c.log.Info("limit set", "limit", at.Name, "value", rec.Value, "note", rec.Note)
	return &v1.SetLimitResponse{Limit: c.showLimit(at)}, nil
}

func limitNews(rec *v1.Limit, was string, reset bool) news {
	return func() *meta.Event {
		text := fmt.Sprintf("limit %s is %s, was %s", rec.Name, rec.Value, was)
		if reset {
			text += "; that is the default"
		}
		if rec.Note != "" {
			text += ": " + rec.Note
		}
		return newEvent(eventInfo, "limit-set", aCluster, 0, rec.Name, "%s", text)
	}
}
