package server

import (
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/controlplane/schedule"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	"github.com/ashlar-storage/ashlar/rpc/ops"
)

// Config is how a control plane runs. Zero values mean the defaults named beside them.
type Config struct {
	Listen  string // host:port; port 0 takes a free one, see Server.Addr
	DataDir string // metadata directory, made when absent; unless Etcd has endpoints

	// Etcd holds the metadata of control planes of which one is active at a time. Its Logger is
	// set to this one's.
	Etcd meta.EtcdConfig
	// Advertise is where the others send callers when this one is active, host:port; what it
	// listens on, unless that is any address of the machine.
	Advertise string

	Name    string // of this process in listings; "control"
	Version string // of the program, shown to operators; "dev"
	Logger  *slog.Logger

	Admin ops.Config // where profiles and metrics are served, and to whom; its Logger is this one

	Replicas     int // of every copyset; 3
	Copysets     int // made when MinNodes are up; two for each store that is
	MinNodes     int // nodes that must be up first, on as many zones as Replicas; Replicas
	ScatterWidth int // of placement; 0: as wide as the copysets make it

	TrashKeep time.Duration // how long deleted volumes can be restored; below 0: not at all; 24 h

	SegmentBytes uint64  // 1 GiB; only volumes made later follow a change
	ChunkBytes   uint64  // 16 MiB; must be what the data plane was built with
	Overcommit   float64 // sum of volume sizes x replicas over capacity; 1.0

	HeartbeatInterval time.Duration // asked of nodes and gateways; 500 ms
	OfflineAfter      time.Duration // without a heartbeat; 3 s
	SessionLease      time.Duration // without a renewal; 10 s
	TickInterval      time.Duration // 250 ms
	FlushInterval     time.Duration // for what may be written late; 1 s
	ScheduleInterval  time.Duration // 1 s
	Schedule          schedule.Limits

	OldestNode uint64 // lowest level of nodes that are taken; admin.OldestNodeLevel

	Now func() time.Time // time.Now
}

// DefaultConfig returns the defaults, with no place to listen or keep data.
func DefaultConfig() Config { return Config{}.withDefaults() }

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (c Config) withDefaults() Config {
	set(&c.Name, "control")
	set(&c.Version, "dev")
	set(&c.Logger, slog.Default())
	set(&c.Replicas, 3)
	set(&c.MinNodes, c.Replicas)
	set(&c.TrashKeep, 24*time.Hour)
	set(&c.SegmentBytes, 1<<30)
	set(&c.ChunkBytes, 16<<20)
	set(&c.Overcommit, 1)
	set(&c.HeartbeatInterval, 500*time.Millisecond)
	set(&c.OfflineAfter, 3*time.Second)
	set(&c.SessionLease, 10*time.Second)
	set(&c.TickInterval, 250*time.Millisecond)
	set(&c.FlushInterval, time.Second)
	set(&c.ScheduleInterval, time.Second)
	set(&c.Schedule, schedule.DefaultLimits())
	set(&c.OldestNode, admin.OldestNodeLevel)
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// check is applied after withDefaults. Its errors are admin.ErrInvalid and name the field.
func (c Config) check() error {
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return invalid("Listen", c.Listen, "want host:port")
	}
	if err := c.checkMeta(); err != nil {
		return err
	}
	for _, f := range []struct {
		name           string
		value, low, to int
	}{
		{"Replicas", c.Replicas, 1, maxReplicas},
		{"Copysets", c.Copysets, 0, maxCopysets},
		{"MinNodes", c.MinNodes, c.Replicas, maxNodes},
		{"ScatterWidth", c.ScatterWidth, 0, maxNodes},
	} {
		if f.value < f.low || f.value > f.to {
			return invalid(f.name, f.value, fmt.Sprintf("want %d to %d", f.low, f.to))
		}
	}
	switch {
	case c.ChunkBytes < blockSize || c.ChunkBytes&(c.ChunkBytes-1) != 0:
		return invalid("ChunkBytes", c.ChunkBytes, "want a power of two of at least 4096")
	case c.SegmentBytes == 0 || c.SegmentBytes%c.ChunkBytes != 0:
		return invalid("SegmentBytes", c.SegmentBytes, "want a multiple of ChunkBytes")
	case !(c.Overcommit > 0 && c.Overcommit <= 1000):
		return invalid("Overcommit", c.Overcommit, "want more than 0, at most 1000")
	}
	return c.checkTimes()
}

func (c Config) checkMeta() error {
	if !shared(c.Etcd) {
		if c.DataDir == "" {
			return invalid("DataDir", c.DataDir, "want a directory, or endpoints of etcd")
		}
		return nil
	}
	listens := c.Listen
	if c.Advertise != "" {
		listens = c.Advertise
	}
	host, port, err := net.SplitHostPort(listens)
	if ip := net.ParseIP(host); err != nil || host == "" || ip != nil && ip.IsUnspecified() ||
		c.Advertise != "" && port == "0" {
		return invalid("Advertise", c.Advertise, "want the host:port at which nodes and clients "+
			"reach this control plane")
	}
	return nil
}

// where says in a log where the metadata are.
func (c Config) where() string {
	if !shared(c.Etcd) {
		return c.DataDir
	}
	return "etcd " + strings.Join(c.Etcd.Endpoints, ",") + " " + c.Etcd.Prefix
}

func (c Config) checkTimes() error {
	for _, f := range []struct {
		name  string
		value time.Duration
	}{
		{"HeartbeatInterval", c.HeartbeatInterval}, {"SessionLease", c.SessionLease},
		{"TickInterval", c.TickInterval}, {"FlushInterval", c.FlushInterval},
		{"ScheduleInterval", c.ScheduleInterval},
	} {
		if f.value < time.Millisecond {
			return invalid(f.name, f.value, "want at least 1 ms")
		}
	}
	if c.OfflineAfter < 2*c.HeartbeatInterval {
		return invalid("OfflineAfter", c.OfflineAfter, "want at least two heartbeat intervals")
	}
	return nil
}

func invalid(field string, value any, fix string) error {
	return admin.Errorf(admin.ErrInvalid, "control: %s %v: %s", field, value, fix)
}
