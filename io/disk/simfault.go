package disk

// StepKind names what a simulated disk is about to do or has begun.
type StepKind uint8

// The steps, in each of which a power cut leaves a different disk.
const (
	StepWrite  StepKind = iota + 1 // received, none of it durable yet
	StepSync                       // asked for, not begun
	StepCreate                     // asked for, not begun; likewise the rest
	StepRename
	StepRemove
	StepWriteFile
	StepMkdir
)

// Step is one boundary at which a power cut can be tried.
type Step struct {
	Kind StepKind
	Name string
	To   string // rename
	Off  int64
	Len  int64
}

// faults are the hooks of a test. They are called without the disk's lock.
type faults struct {
	read     func(name string, off int64) error
	shorten  func(name string, off int64, n int) int
	write    func(name string, off int64) error
	sync     func(name string) error
	redirect func(name string, off int64) (to int64, keep bool)
	stale    func(name string, off int64) (reads int, stale bool)
	step     func(Step)
}

// FailWrites makes writes fail for which match returns an error, Create and WriteFile (at
// offset 0) too: they change nothing and return it wrapped in its class, ErrNoSpace or else
// ErrIO. nil removes the hook.
func (s *Sim) FailWrites(match func(name string, off int64) error) {
	s.setFaults(func(f *faults) { f.write = match })
}

// FailReads makes reads fail for which match returns an error.
func (s *Sim) FailReads(match func(name string, off int64) error) {
	s.setFaults(func(f *faults) { f.read = match })
}

// FailSyncs makes Sync of a file fail for which match returns an error; the blocks stay
// unsynced.
func (s *Sim) FailSyncs(match func(name string) error) {
	s.setFaults(func(f *faults) { f.sync = match })
}

// ShortReads cuts a read of n bytes to the number that limit returns.
func (s *Sim) ShortReads(limit func(name string, off int64, n int) int) {
	s.setFaults(func(f *faults) { f.shorten = limit })
}

// RedirectWrites makes the device lie: a write that should go to off goes to the offset
// returned (a misdirected write), or nowhere when keep is false (a lost write). It is
// acknowledged all the same.
func (s *Sim) RedirectWrites(where func(name string, off int64) (to int64, keep bool)) {
	s.setFaults(func(f *faults) { f.redirect = where })
}

// OnStep calls hook at every boundary where a power cut leaves a different disk. The hook
// may call Unsynced and Crash; the disk it is called on goes on unchanged.
func (s *Sim) OnStep(hook func(Step)) {
	s.setFaults(func(f *faults) { f.step = hook })
}

// SetBytes changes the capacity, also below what is used.
func (s *Sim) SetBytes(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cfg.Bytes = n
}

func (s *Sim) setFaults(set func(*faults)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set(&s.faults)
}

func (s *Sim) hooks() faults {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults
}

func (s *Sim) step(st Step) {
	if hook := s.hooks().step; hook != nil {
		hook(st)
	}
}

func (s *Sim) countError() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Errors++
}

func (s *Sim) writeFault(name string, off int64) error {
	match := s.hooks().write
	if match == nil {
		return nil
	}
	err := match(name, off)
	if err == nil {
		return nil
	}
	s.countError()
	return failed(classOf(err), Write, name, off, err)
}

func (s *Sim) readFault(node *inode, off int64, want int) (int, error) {
	h := s.hooks()
	if h.read != nil {
		if err := h.read(node.name, off); err != nil {
			s.countError()
			return 0, failed(classOf(err), Read, node.name, off, err)
		}
	}
	if h.shorten != nil {
		return min(max(0, h.shorten(node.name, off, want)), want), nil
	}
	return want, nil
}

func (s *Sim) syncFault(name string) error {
	match := s.hooks().sync
	if match == nil {
		return nil
	}
	err := match(name)
	if err == nil {
		return nil
	}
	s.countError()
	return failed(classOf(err), Sync, name, 0, err)
}

func (s *Sim) redirect(name string, off int64) (int64, bool) {
	if where := s.hooks().redirect; where != nil {
		return where(name, off)
	}
	return off, true
}

func (s *Sim) staleWrite(name string, off int64) (int, bool) {
	if where := s.hooks().stale; where != nil {
		return where(name, off)
	}
	return 0, false
}
