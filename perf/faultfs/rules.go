package faultfs

import (
	"errors"
	"fmt"
	"path"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// ErrInvalid: a rule or a configuration that makes no sense.
var ErrInvalid = errors.New("faultfs: invalid")

// Kind is a set of kinds of operations.
type Kind uint8

// Kinds of operations. A write with DSYNC is both Write and Sync.
const (
	Read Kind = 1 << iota
	Write
	Sync
	Names // create, rename, unlink, mkdir, rmdir, truncate, fallocate
	All   = Read | Write | Sync | Names
)

// Rule is a fault. The zero values of Pattern, Length and Until mean everything, everywhere, until
// Clear.
type Rule struct {
	Pattern     string // of path.Match, on the path from the root of the mount
	Kinds       Kind
	Off, Length int64         // range of the file; Length 0: all of it
	Errno       syscall.Errno // 0: the operation goes on, late
	Delay       time.Duration // before the operation
	Until       time.Time     // operations that come earlier wait for it

	healing bool // a write over all of the range ends it
	hits    atomic.Int64
	ended   chan struct{}
}

// Hits is how many operations met the rule.
func (r *Rule) Hits() int64 { return r.hits.Load() }

type rules struct {
	mu   sync.Mutex
	list []*Rule
}

func (rs *rules) add(r *Rule) error {
	if _, err := path.Match(r.Pattern, ""); err != nil || r.Kinds == 0 {
		return fmt.Errorf("%w: rule with pattern %q and kinds %b: see path.Match and Kind",
			ErrInvalid, r.Pattern, r.Kinds)
	}
	r.ended = make(chan struct{})
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if len(rs.list) >= rulesMax {
		return fmt.Errorf("%w: %d rules hold: Clear them first", ErrInvalid, len(rs.list))
	}
	rs.list = append(rs.list, r)
	return nil
}

func (rs *rules) clear() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for _, r := range rs.list {
		close(r.ended)
	}
	rs.list = nil
}

// match returns the first rule that an operation meets, and ends those that a write heals.
func (rs *rules) match(name string, kinds Kind, off, n int64) (met *Rule) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	kept := rs.list[:0]
	for _, r := range rs.list {
		if r.healing && kinds&Write != 0 && r.isOn(name) &&
			off <= r.Off && off+n >= r.Off+r.Length {
			close(r.ended)
			continue
		}
		kept = append(kept, r)
		if met == nil && r.meets(name, kinds, off, n) {
			met = r
			r.hits.Add(1)
		}
	}
	clear(rs.list[len(kept):])
	rs.list = kept
	return met
}

func (r *Rule) isOn(name string) bool {
	if r.Pattern == "" {
		return true
	}
	ok, _ := path.Match(r.Pattern, name) // add has tried the pattern
	return ok
}

func (r *Rule) meets(name string, kinds Kind, off, n int64) bool {
	if r.Kinds&kinds == 0 || !r.isOn(name) {
		return false
	}
	if r.Length > 0 && kinds&(Read|Write) != 0 && (off >= r.Off+r.Length || off+n <= r.Off) {
		return false
	}
	return r.Until.IsZero() || time.Now().Before(r.Until)
}

// wait is how long an operation that meets the rule is late.
func (r *Rule) wait() time.Duration {
	if !r.Until.IsZero() {
		return max(r.Delay, time.Until(r.Until))
	}
	return r.Delay
}

// space counts down what may still be allocated; without a bound it gives everything.
type space struct {
	mu    sync.Mutex
	bound bool
	left  int64
}

func (s *space) limit(left int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bound, s.left = true, left
}

func (s *space) free() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bound = false
}

func (s *space) take(n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bound && s.left < n {
		return false
	}
	s.left -= n
	return true
}

func (s *space) give(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left += n
}

// now returns what is left, and whether there is a bound.
func (s *space) now() (left int64, bound bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(s.left, 0), s.bound
}
