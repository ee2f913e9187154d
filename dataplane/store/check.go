package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/ashlar-storage/ashlar/io/disk"
	"github.com/ashlar-storage/ashlar/io/wal"
)

// A check looks at everything a store has on its disk, while no store runs on it, with the code
// that a start runs and beyond what a start reads. It writes nothing, so whatever it says can be
// checked again.

// Severity of a finding.
const (
	// Damage: something that was durable is lost or contradicts itself.
	Damage = "damage"
	// Note: nothing is lost; as a crash leaves it, or no concern of this version.
	Note = "note"
)

// The areas of a check.
const (
	AreaIdentity = "identity"
	AreaLog      = "log"
	AreaCopysets = "copysets"
	AreaSlots    = "slots"
	AreaData     = "data"
)

// Finding is one thing that is not as it should be.
type Finding struct {
	Severity, Area string
	File           string // on the store's disk
	Offset, Length int64
	Expected, Got  string // where the finding is a comparison
	Means, Do      string
}

// Area counts what was looked at in one part of a store.
type Area struct {
	Name    string
	Objects uint64 // of the kind Unit
	Unit    string
	Bytes   uint64
	Damage  uint64
	Notes   uint64
}

// CheckReport is the result of a check. Findings beyond MaxFindings are counted only.
type CheckReport struct {
	Path      string
	UUID      string
	ClusterID string
	StoreID   uint64
	ChunkSize int64
	Areas     []Area
	Findings  []Finding
	Omitted   uint64
}

// Damaged is how many findings are damage.
func (r *CheckReport) Damaged() (n uint64) {
	for _, a := range r.Areas {
		n += a.Damage
	}
	return n
}

// Progress is how far a check has come in one area; Total is 0 when it is not known.
type Progress struct {
	Area        string
	Done, Total uint64
	Bytes       uint64
}

// CheckConfig of a check.
type CheckConfig struct {
	Disk disk.Disk // need not be writable; the caller closes it
	Path string    // for messages
	// Data reads every written block. Without it only metadata and the log are checked.
	Data     bool
	Progress func(Progress) // called often; nil: nobody looks
	Logger   *slog.Logger
}

// check is one run.
type check struct {
	cfg     CheckConfig
	ctx     context.Context
	meta    identity
	report  CheckReport
	areas   map[string]*Area
	log     logFacts
	expects map[uint64]uint64 // copyset -> applied index of its state
	lost    map[uint64]uint64 // copyset -> the member that the store has noted as lost
}

// Check looks at a store and reports. An error says that there is no store to look at, or that ctx
// ended; whatever is wrong with one is in the report.
func Check(ctx context.Context, cfg CheckConfig) (*CheckReport, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Progress == nil {
		cfg.Progress = func(Progress) {}
	}
	c := &check{cfg: cfg, ctx: ctx, areas: map[string]*Area{}, expects: map[uint64]uint64{},
		lost:   map[uint64]uint64{},
		report: CheckReport{Path: cfg.Path}}
	for _, a := range []Area{{Name: AreaIdentity, Unit: "files"}, {Name: AreaLog, Unit: "records"},
		{Name: AreaCopysets, Unit: "replicas"}, {Name: AreaSlots, Unit: "slot files"},
		{Name: AreaData, Unit: "blocks"}} {
		c.areas[a.Name] = &a
	}
	if err := c.run(); err != nil {
		return nil, err
	}
	for _, name := range []string{AreaIdentity, AreaLog, AreaCopysets, AreaSlots, AreaData} {
		c.report.Areas = append(c.report.Areas, *c.areas[name])
	}
	return &c.report, nil
}

func (c *check) run() error {
	var err error
	if c.meta, err = readIdentity(c.cfg.Disk, c.cfg.Path); err != nil {
		return err
	}
	c.count(AreaIdentity, 1, 0)
	c.report.UUID, c.report.ClusterID = c.meta.UUID.String(), c.meta.ClusterID
	c.report.StoreID, c.report.ChunkSize = c.meta.StoreID, c.meta.ChunkSize
	if err := c.checkLog(); err != nil {
		return err
	}
	return c.checkChunks()
}

// readIdentity reads the STORE file without making one.
func readIdentity(d disk.Disk, path string) (identity, error) {
	data, err := d.ReadFile(identityFile)
	if errors.Is(err, disk.ErrNotExist) {
		return identity{}, fmt.Errorf("%w: %s has no %s file: name the directory of a store, as a "+
			"node's `stores` has it", ErrForeign, path, identityFile)
	} else if err != nil {
		return identity{}, fmt.Errorf("store %s: %w", path, err)
	}
	return decodeIdentity(path, data)
}

func (c *check) count(area string, objects, bytes uint64) {
	a := c.areas[area]
	a.Objects, a.Bytes = a.Objects+objects, a.Bytes+bytes
}

// find records a finding.
func (c *check) find(f Finding) {
	a := c.areas[f.Area]
	if f.Severity == Damage {
		a.Damage++
	} else {
		a.Notes++
	}
	if len(c.report.Findings) >= MaxFindings {
		c.report.Omitted++
		return
	}
	c.report.Findings = append(c.report.Findings, f)
}

// progress reports how far an area is, and why the check must end.
func (c *check) progress(area string, total uint64) error {
	a := c.areas[area]
	c.cfg.Progress(Progress{Area: area, Done: a.Objects, Total: total, Bytes: a.Bytes})
	if err := c.ctx.Err(); err != nil {
		return fmt.Errorf("store %s: check ended early: %w", c.cfg.Path, err)
	}
	return nil
}

// logFacts is what the log says that other parts are compared with.
type logFacts struct {
	found   map[uint64]*foundCopyset
	pending map[blockRange][]pendingWrite
	missing bool // there is no log to compare with
}

// absent says that a file is not there, of which the caller makes what it means.
func absent(err error) bool { return errors.Is(err, disk.ErrNotExist) }

// lsnText shows a position of the log.
func lsnText(at wal.LSN) string { return fmt.Sprintf("position %d", at) }

func groupsText(groups []uint64) string {
	if len(groups) == 0 {
		return "any copyset of the store"
	}
	slices.Sort(groups)
	return fmt.Sprintf("copysets %v", groups)
}
