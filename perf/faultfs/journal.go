package faultfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// journal makes changes of names at once, and remembers how to take back those that no fsync of a
// directory has made durable. What a change removes is kept aside until then.
type journal struct {
	data, lost string

	mu      sync.Mutex
	changes []change
	seq     int
}

// change is one step of the name space and what it takes to undo it.
type change struct {
	made    string // path that did not exist before; empty: none
	from    string // where it was before, when it was moved
	removed string // path that existed before
	aside   string // where the removed file is kept; empty: it was a directory
}

func (j *journal) path(name string) string { return filepath.Join(j.data, name) }

// do records a change that step makes; step runs with the journal held.
func (j *journal) do(step func() (change, error)) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	c, err := step()
	if err != nil {
		return err
	}
	j.changes = append(j.changes, c)
	if len(j.changes) > journalMax {
		return j.commitLocked()
	}
	return nil
}

// setAside moves a file out of the name space.
func (j *journal) setAside(name string) (aside string, err error) {
	j.seq++
	aside = filepath.Join(j.lost, fmt.Sprint(j.seq))
	return aside, os.Rename(j.path(name), aside)
}

func (j *journal) create(name string, flags int, mode uint32) (f *os.File, err error) {
	err = j.do(func() (change, error) {
		f, err = os.OpenFile(j.path(name), flags|os.O_CREATE|os.O_RDWR, os.FileMode(mode&0o777))
		return change{made: name}, err
	})
	return f, err
}

func (j *journal) mkdir(name string, mode uint32) error {
	return j.do(func() (change, error) {
		return change{made: name}, os.Mkdir(j.path(name), os.FileMode(mode&0o777))
	})
}

func (j *journal) unlink(name string) error {
	return j.do(func() (change, error) {
		aside, err := j.setAside(name)
		return change{removed: name, aside: aside}, err
	})
}

func (j *journal) rmdir(name string) error {
	return j.do(func() (change, error) {
		return change{removed: name}, syscall.Rmdir(j.path(name))
	})
}

// rename moves a name, over a file that exists unless replace is false.
func (j *journal) rename(from, to string, replace bool) error {
	return j.do(func() (change, error) {
		c := change{made: to, from: from}
		st, err := os.Lstat(j.path(to))
		switch {
		case errors.Is(err, os.ErrNotExist):
		case err != nil:
			return c, err
		case !replace:
			return c, syscall.EEXIST
		case st.IsDir():
			return c, syscall.EISDIR
		default:
			if c.aside, err = j.setAside(to); err != nil {
				return c, err
			}
			c.removed = to
		}
		return c, os.Rename(j.path(from), j.path(to))
	})
}

// commit makes every change durable.
func (j *journal) commit() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.commitLocked()
}

func (j *journal) commitLocked() error {
	for _, c := range j.changes {
		if c.aside == "" {
			continue
		}
		if err := os.Remove(c.aside); err != nil {
			return err
		}
	}
	j.changes = j.changes[:0]
	return nil
}

func (j *journal) pending() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.changes)
}

// settle keeps the first changes that are not durable and takes back the others.
func (j *journal) settle(keep int) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := len(j.changes) - 1; i >= keep; i-- {
		if err := j.undo(j.changes[i]); err != nil {
			return err
		}
	}
	j.changes = j.changes[:keep]
	return j.commitLocked()
}

func (j *journal) undo(c change) (err error) {
	switch {
	case c.made == "":
	case c.from != "":
		err = os.Rename(j.path(c.made), j.path(c.from))
	default:
		err = os.Remove(j.path(c.made))
	}
	switch {
	case err != nil || c.removed == "":
		return err
	case c.aside == "":
		return os.Mkdir(j.path(c.removed), 0o700)
	}
	return os.Rename(c.aside, j.path(c.removed))
}
