package supervise

import (
	"fmt"
	"strings"
	"time"
)

// Role is what a child does; its value is the order of starting.
type Role uint8

// The roles.
const (
	Control Role = iota
	Node
	Gateway
	roleEnd
)

// String names the role as `cluster status` does.
func (r Role) String() string {
	return [...]string{"control", "node", "gateway"}[r]
}

// Child names one process.
type Child struct {
	Role Role
	ID   string
}

// Config bounds the machine; zero durations take the package's defaults.
type Config struct {
	RestartDelay time.Duration
	StartWait    time.Duration
	StopWait     time.Duration
	NoRestart    bool
}

// EventKind says what happened.
type EventKind uint8

// The events.
const (
	Begin       EventKind = iota // once, first
	Started                      // a Spawn worked; PID is set
	Refused                      // a Spawn failed; Why is set
	Serving                      // the child with PID answers
	Exited                       // the child is gone; Why and Permanent are set
	VolumeReady                  // EnsureVolume is done
	VolumeFail                   // EnsureVolume cannot be done; Why is set
	Revive                       // start now what is down
	Stop                         // stop all; a second one kills all
	Tick                         // time passed
)

// Event is one input of Step. Now is the time since any fixed moment and never decreases.
type Event struct {
	Kind      EventKind
	Now       time.Duration
	Child     string
	PID       int
	Why       string
	Permanent bool // Exited: starting it again would end the same way
}

// EffectKind says what the shell has to do.
type EffectKind uint8

// The effects. The shell carries them out in order and answers Spawn with Started or Refused
// before any other event.
const (
	Spawn EffectKind = iota
	Terminate
	Kill
	EnsureVolume
	Ready
	Note
	Finished // nothing follows; Text is empty after an ordered stop, else the reason
)

// Effect is one output of Step.
type Effect struct {
	Kind  EffectKind
	Child string
	Text  string
	// Refused: Finished because a child said that starting it again would end the same way.
	Refused bool
}

type childState uint8

const (
	idle     childState = iota // not started yet
	starting                   // alive, not seen serving
	up                         // alive and serving
	waiting                    // dead, to be started at due
	down                       // dead, to be started by Revive only
)

func (s childState) alive() bool { return s == starting || s == up }

type child struct {
	Child
	state  childState
	pid    int
	since  time.Duration // of the last start
	due    time.Duration // waiting: when to start
	deaths int           // early ones in a row
	served bool          // has been up since Begin
}

type phase uint8

const (
	phaseStart phase = iota
	phaseVolume
	phaseRun
	phaseStop
	phaseEnd
)

// Machine decides what a supervisor does. It is not safe for concurrent use.
type Machine struct {
	cfg      Config
	children []*child
	phase    phase
	stage    Role // phaseStart: being started; phaseStop: being stopped
	begun    time.Duration
	deadline time.Duration // phaseStop: when the stage is killed
	killed   bool          // phaseStop: the stage has been killed
	hurried  bool          // phaseStop: asked twice, nothing is given time
	failure  string
	refused  bool
	out      []Effect
}

// NewMachine returns a machine for children, which need not be sorted; ids must be unique.
func NewMachine(cfg Config, children []Child) *Machine {
	setDefault(&cfg.RestartDelay, DefaultRestartDelay)
	setDefault(&cfg.StartWait, DefaultStartWait)
	setDefault(&cfg.StopWait, DefaultStopWait)
	m := &Machine{cfg: cfg}
	for _, c := range children {
		m.children = append(m.children, &child{Child: c})
	}
	return m
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

// Step takes one event and appends to out what follows from it.
func (m *Machine) Step(ev Event, out []Effect) []Effect {
	m.out = out
	switch ev.Kind {
	case Begin:
		m.begun = ev.Now
		m.startStage(Control, ev.Now)
	case Stop:
		m.stop(ev.Now, "")
	case Tick:
		m.tick(ev.Now)
	case Revive:
		m.revive(ev.Now)
	case VolumeReady:
		if m.phase == phaseVolume {
			m.phase = phaseStart
			m.startStage(Gateway, ev.Now)
		}
	case VolumeFail:
		if m.phase == phaseVolume {
			m.stop(ev.Now, ev.Why)
		}
	default:
		m.childEvent(ev)
	}
	out, m.out = m.out, nil
	return out
}

func (m *Machine) emit(kind EffectKind, child, text string) {
	m.out = append(m.out, Effect{Kind: kind, Child: child, Text: text})
}

func (m *Machine) note(child, format string, args ...any) {
	m.emit(Note, child, fmt.Sprintf(format, args...))
}

func (m *Machine) find(id string) *child {
	for _, c := range m.children {
		if c.ID == id {
			return c
		}
	}
	return nil
}

func (m *Machine) spawn(c *child, now time.Duration) {
	c.state, c.since, c.pid = starting, now, 0
	m.emit(Spawn, c.ID, "")
}

// startStage starts the children of a role; a role without children is passed over.
func (m *Machine) startStage(r Role, now time.Duration) {
	m.stage = r
	for _, c := range m.children {
		if c.Role == r && c.state == idle {
			m.spawn(c, now)
		}
	}
	m.advance(now)
}

// advance goes to the next stage when all of this one have been seen serving.
func (m *Machine) advance(now time.Duration) {
	if m.phase != phaseStart {
		return
	}
	for _, c := range m.children {
		if c.Role == m.stage && c.state != up {
			return
		}
	}
	switch m.stage {
	case Control:
		m.startStage(Node, now)
	case Node:
		m.phase = phaseVolume
		m.emit(EnsureVolume, "", "")
	default:
		m.phase = phaseRun
		m.emit(Ready, "", "")
	}
}

func (m *Machine) childEvent(ev Event) {
	c := m.find(ev.Child)
	if c == nil {
		return
	}
	switch ev.Kind {
	case Started:
		c.pid = ev.PID
	case Serving:
		if c.state != starting || c.pid != ev.PID {
			return
		}
		c.state = up
		m.note(c.ID, "serving")
		c.served = true
		m.advance(ev.Now)
	case Exited, Refused:
		if c.state.alive() && (ev.Kind == Refused || ev.PID == c.pid) {
			m.died(c, ev)
		}
	}
}

func (m *Machine) died(c *child, ev Event) {
	if m.phase == phaseStop || m.phase == phaseEnd {
		c.state = down
		m.stopStage(ev.Now)
		return
	}
	if ev.Now-c.since >= StableAfter {
		c.deaths = 0
	}
	c.deaths++
	beforeReady := m.phase != phaseRun && !c.served
	switch {
	case beforeReady && (ev.Permanent || c.deaths >= StartAttempts):
		c.state, m.refused = down, ev.Permanent
		m.stop(ev.Now, fmt.Sprintf("%s %s does not start: %s", c.Role, c.ID, ev.Why))
	case ev.Permanent:
		c.state = down
		m.note(c.ID, "%s: its data cannot be used; it stays down", ev.Why)
	case m.cfg.NoRestart && m.phase == phaseRun:
		c.state = down
		m.note(c.ID, "%s: it stays down until asked for", ev.Why)
	default:
		delay := m.delay(c.deaths)
		c.state, c.due = waiting, ev.Now+delay
		m.note(c.ID, "%s: starts again in %v", ev.Why, delay)
	}
}

func (m *Machine) delay(deaths int) time.Duration {
	delay := m.cfg.RestartDelay
	for i := 1; i < deaths && delay < RestartDelayMax; i++ {
		delay *= 2
	}
	return max(m.cfg.RestartDelay, min(delay, RestartDelayMax))
}

func (m *Machine) revive(now time.Duration) {
	if m.phase == phaseStop || m.phase == phaseEnd {
		return
	}
	for _, c := range m.children {
		if c.state == down || c.state == waiting {
			c.deaths = 0
			m.note(c.ID, "starting again, as asked")
			m.spawn(c, now)
		}
	}
}

func (m *Machine) tick(now time.Duration) {
	switch m.phase {
	case phaseStop:
		if now >= m.deadline && !m.killed {
			m.killed = true
			m.signalStage(Kill, m.stage)
		}
		return
	case phaseEnd:
		return
	}
	for _, c := range m.children {
		if c.state == waiting && now >= c.due {
			m.spawn(c, now)
		}
	}
	if m.phase != phaseRun && now-m.begun >= m.cfg.StartWait {
		m.stop(now, fmt.Sprintf("not serving after %v: waiting for %s", m.cfg.StartWait,
			m.missing()))
	}
}

// missing names what the start waits for.
func (m *Machine) missing() string {
	if m.phase == phaseVolume {
		return "the volume"
	}
	var ids []string
	for _, c := range m.children {
		if c.Role == m.stage && c.state != up {
			ids = append(ids, c.ID)
		}
	}
	return strings.Join(ids, ", ")
}

// stop begins the end, or hastens it.
func (m *Machine) stop(now time.Duration, failure string) {
	if m.phase == phaseEnd {
		return
	}
	if m.phase == phaseStop {
		m.killed, m.hurried = true, true
		for r := range roleEnd {
			m.signalStage(Kill, r)
		}
		return
	}
	m.phase, m.stage, m.failure = phaseStop, roleEnd, failure
	m.stopStage(now)
}

// stopStage goes on to the next stage, last role first, when nothing of this one is alive.
func (m *Machine) stopStage(now time.Duration) {
	for m.phase == phaseStop {
		if m.stage < roleEnd && m.aliveIn(m.stage) {
			return
		}
		if m.stage == Control {
			m.phase = phaseEnd
			m.out = append(m.out, Effect{Kind: Finished, Text: m.failure, Refused: m.refused})
			return
		}
		m.stage--
		m.deadline, m.killed = now+m.cfg.StopWait, m.hurried
		if !m.hurried {
			m.signalStage(Terminate, m.stage)
		}
	}
}

func (m *Machine) aliveIn(r Role) bool {
	for _, c := range m.children {
		if c.Role == r && c.state.alive() {
			return true
		}
	}
	return false
}

func (m *Machine) signalStage(kind EffectKind, r Role) {
	for _, c := range m.children {
		if c.Role == r && c.state.alive() {
			m.emit(kind, c.ID, "")
		}
	}
}
