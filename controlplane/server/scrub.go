package server

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
	"github.com/ashlar-storage/ashlar/rpc/window"
)

// When stores are scrubbed is in the metadata, and told to nodes with every heartbeat. They keep it
// and go by their own clocks, so that neither needs the other.

func (c *cluster) loadScrub(r meta.Reader) error {
	rec, err := meta.ScrubWindows.Get(r, meta.ID(poolID))
	if errors.Is(err, meta.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	windows, err := window.Parse(rec.Windows, rec.Zone)
	if err != nil { // of another release: stores are scrubbed at any time
		c.log.Warn("scrub windows are not taken", "windows", rec.Windows, "error", err)
		return nil
	}
	c.scrub, c.windows = rec, windows
	return nil
}

func checkPool(id uint64) error {
	if id != 0 && id != poolID {
		return admin.Errorf(admin.ErrNotFound, "control: pool %d does not exist; %d is the only "+
			"one", id, poolID)
	}
	return nil
}

func (c *cluster) getScrubWindows(req *v1.GetScrubWindowsRequest) (*v1.GetScrubWindowsResponse,
	error,
) {
	if err := checkPool(req.PoolId); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return &v1.GetScrubWindowsResponse{Windows: c.showScrub(c.cfg.Now())}, nil
}

func (c *cluster) showScrub(now time.Time) *v1.ScrubWindows {
	shown := &v1.ScrubWindows{PoolId: poolID, Windows: c.windows.Text(), Zone: c.windows.Zone(),
		SetUnixNs: c.scrub.GetSetUnixNs(), Note: c.scrub.GetNote(), Open: c.windows.Open(now)}
	if opens := c.windows.Opens(now); !opens.IsZero() {
		shown.OpensUnixNs = opens.UnixNano()
	}
	if c.scrub != nil {
		shown.Lacking = c.lacking(admin.FeatureScrubWindows, sortedIDs(c.nodes))
	}
	return shown
}

func (c *cluster) setScrubWindows(req *v1.SetScrubWindowsRequest) (*v1.SetScrubWindowsResponse,
	error,
) {
	if err := checkPool(req.PoolId); err != nil {
		return nil, err
	}
	windows, err := window.Parse(req.Windows, req.Zone)
	if err != nil {
		return nil, admin.Errorf(admin.ErrInvalid, "control: scrub %v", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	var rec *v1.ScrubWindows
	if windows.Text() != "" {
		rec = &v1.ScrubWindows{PoolId: poolID, Windows: windows.Text(), Zone: windows.Zone(),
			SetUnixNs: now.UnixNano(), Note: clip(req.Note, maxTextBytes)}
	} else {
		windows = window.Week{}
	}
	err = c.update(func(tx meta.Tx) error {
		if rec == nil {
			return meta.ScrubWindows.Delete(tx, meta.ID(poolID))
		}
		return meta.ScrubWindows.Put(tx, meta.ID(poolID), rec)
	}, scrubNews(windows, rec.GetNote()))
	if err != nil {
		return nil, err
	}
	c.scrub, c.windows = rec, windows
	c.log.Info("scrub windows set", "windows", windows.String())
	return &v1.SetScrubWindowsResponse{Windows: c.showScrub(now)}, nil
}

func scrubNews(windows window.Week, note string) news {
	return func() *meta.Event {
		text := "stores are scrubbed " + windows.String()
		if note != "" {
			text += ": " + note
		}
		return newEvent(eventInfo, "scrub-windows-set", aCluster, 0, "", "%s", text)
	}
}

// explainScrub says what a store's scrubber waits for.
func (c *cluster) explainScrub(a *account, s *store, now time.Time) {
	scrub, n := s.report.GetScrub(), c.nodes[s.rec.NodeId]
	if c.scrub == nil || !scrub.GetOn() || !c.up(n, now) {
		return
	}
	if names := c.lacking(admin.FeatureScrubWindows, []uint64{n.rec.NodeId}); len(names) > 0 {
		a.because("it is scrubbed at any time: node %s does not know of windows (%s)",
			strings.Join(names, ""), c.windows)
		return
	}
	if scrub.Waits {
		a.waitsFor("its scrubber, which has read %d %% of cycle %d, to be in its window: %s, "+
			"which opens %s", scrub.Percent, scrub.Cycle, c.windows,
			opening(scrub.OpensUnixNs, now))
		a.then("the scrubber goes on where it was")
	}
}

func opening(at int64, now time.Time) string {
	when := time.Unix(0, at)
	return fmt.Sprintf("at %s, in %v", when.UTC().Format(time.RFC3339),
		when.Sub(now).Round(time.Minute))
}
