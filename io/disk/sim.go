package disk

// SimConfig of a simulated disk.
type SimConfig struct {
	// Seed drives everything random, in crashes too.
	Seed uint64
	// Bytes is the capacity; 0 is 1 TiB.
	Bytes int64
	// Inline makes Flush call Done on the calling goroutine, in order of submission. If
	// false a goroutine of the disk calls it, as on the real disk.
	Inline bool
}

// Sim is a disk in memory.
type Sim struct{ Disk }

// CrashPlan says what a power cut leaves of the unsynced sectors.
type CrashPlan struct {
	// Keep decides for each unsynced sector (in the order of Unsynced); nil: by Seed.
	Keep []bool
	// Seed chooses what is kept when Keep is nil.
	Seed uint64
}

// NewSim returns an empty simulated disk.
func NewSim(cfg SimConfig) *Sim { panic("disk: NewSim is not built yet") }

// Crash returns a new disk holding what a power cut may leave of this one.
func (s *Sim) Crash(p CrashPlan) *Sim { panic("disk: Crash is not built yet") }
