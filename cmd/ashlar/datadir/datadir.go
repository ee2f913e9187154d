package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/config"
	"github.com/ashlar-storage/ashlar/internal/loopback"
)

// The marks of cluster.yaml. The format number is raised when an older program must not touch the
// directory any more.
const (
	kind      = "ashlar-up"
	format    = 2 // 1 had no admin addresses
	fileName  = "cluster.yaml"
	lockName  = "LOCK"
	nodesMax  = 64
	lockWait  = 15 * time.Second // for the processes of a killed supervisor to go
	lockRetry = 50 * time.Millisecond
)

// Errors of Open and Read, tested with errors.Is.
var (
	// ErrRefused: the directory holds something else, or of another version.
	ErrRefused = errors.New("datadir: refused")
	// ErrInUse: another `ashlar up` has it.
	ErrInUse = errors.New("datadir: in use")
	// ErrNone: there is no cluster in the directory.
	ErrNone = errors.New("datadir: no cluster here")
)

// Layout is the content of cluster.yaml.
type Layout struct {
	Kind    string  `yaml:"kind"`
	Format  int     `yaml:"format"`
	Control string  `yaml:"control"`
	Admin   string  `yaml:"control_admin"` // metrics of the control plane over HTTP
	Gateway Gateway `yaml:"gateway"`
	Nodes   []Node  `yaml:"nodes"`
	Volume  string  `yaml:"volume"` // exported in the ready line; may be empty
	// AllowVolatileCache is handed to the nodes' settings.
	AllowVolatileCache bool `yaml:"allow_volatile_cache,omitempty"`
}

// Gateway is where the NBD gateway listens.
type Gateway struct {
	Listen string `yaml:"listen"`
	Socket string `yaml:"socket"`
}

// Node is one data-plane process; its zone is its name.
type Node struct {
	Name   string `yaml:"name"`
	Listen string `yaml:"listen"`
	Admin  string `yaml:"admin"` // metrics over HTTP
}

// Want is what the caller asks a new or existing directory to be; zero values ask for nothing.
type Want struct {
	Nodes  int
	NBD    string // a port of 0 asks for a free one, kept from then on
	Socket string
	Volume string
	// AllowVolatileCache, once asked for, stays.
	AllowVolatileCache bool
}

// Dir is an open, locked directory.
type Dir struct {
	Path   string // absolute
	Layout Layout
	lock   *os.File
}

// Open locks the directory at path, makes it when it is absent or empty, and returns it with the
// layout that is wanted. The errors wrap ErrRefused, ErrInUse or config.ErrInvalid.
func Open(path string, want Want) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("datadir: %w", err)
	}
	if err := inspect(path); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, fmt.Errorf("datadir: %w", err)
	}
	lock, err := acquire(path)
	if err != nil {
		return nil, err
	}
	d := &Dir{Path: path, lock: lock}
	if err := d.settle(want); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// Close gives the lock back; processes that inherited it keep it.
func (d *Dir) Close() error { return d.lock.Close() }

// Lock returns the file for processes to inherit.
func (d *Dir) Lock() *os.File { return d.lock }

// Read returns the layout of the directory without locking it.
func Read(path string) (Layout, error) {
	text, err := os.ReadFile(filepath.Join(path, fileName))
	if errors.Is(err, fs.ErrNotExist) {
		return Layout{}, fmt.Errorf("%w: %s has no %s: name the directory given to "+
			"`ashlar up --data`", ErrNone, path, fileName)
	}
	if err != nil {
		return Layout{}, fmt.Errorf("datadir: %w", err)
	}
	return decode(path, text)
}

func decode(path string, text []byte) (Layout, error) {
	var mark struct {
		Kind   string         `yaml:"kind"`
		Format int            `yaml:"format"`
		Rest   map[string]any `yaml:",inline"`
	}
	if err := config.Strict(text, &mark); err != nil {
		return Layout{}, fmt.Errorf("%w: %s/%s: %w", ErrRefused, path, fileName, err)
	}
	switch {
	case mark.Kind != kind:
		return Layout{}, fmt.Errorf("%w: %s/%s is of kind %.40q, not %q: it is not a directory "+
			"of `ashlar up`", ErrRefused, path, fileName, mark.Kind, kind)
	case mark.Format > format:
		return Layout{}, fmt.Errorf("%w: %s has format %d and this program knows up to %d: use "+
			"the newer ashlar that made it", ErrRefused, path, mark.Format, format)
	case mark.Format < 1:
		return Layout{}, fmt.Errorf("%w: %s/%s: format %d is none", ErrRefused, path, fileName,
			mark.Format)
	}
	var l Layout
	if err := config.Strict(text, &l); err != nil {
		return Layout{}, fmt.Errorf("%w: %s/%s: %w", ErrRefused, path, fileName, err)
	}
	if len(l.Nodes) < 1 || len(l.Nodes) > nodesMax || l.Control == "" || l.Gateway.Listen == "" {
		return Layout{}, fmt.Errorf("%w: %s/%s: it lacks nodes or addresses", ErrRefused, path,
			fileName)
	}
	return l, nil
}

// inspect refuses a directory with content that is not ours. A new directory may hold the lock
// file and what a start that was cut short left behind: all of that is ours by name.
func inspect(path string) error {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("datadir: %w", err)
	}
	if _, err := os.Stat(filepath.Join(path, fileName)); err == nil {
		_, err := Read(path)
		return err
	}
	for _, e := range entries {
		if e.Name() != lockName && e.Name() != fileName+".new" && e.Name() != "lost+found" {
			return fmt.Errorf("%w: %s holds %q and no %s: name an empty directory or one made by "+
				"`ashlar up`", ErrRefused, path, e.Name(), fileName)
		}
	}
	return nil
}

// acquire takes the lock. It waits for survivors of a supervisor that is no more, and refuses at
// once when the supervisor named in the file is alive.
func acquire(path string) (*os.File, error) {
	name := filepath.Join(path, lockName)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("datadir: %w", err)
	}
	for deadline := time.Now().Add(lockWait); ; {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		pid := holder(f)
		alive := pid > 0 && unix.Kill(pid, 0) == nil
		if !errors.Is(err, unix.EWOULDBLOCK) || alive || time.Now().After(deadline) {
			f.Close()
			return nil, inUse(path, pid, alive, err)
		}
		time.Sleep(lockRetry)
	}
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("datadir: write %s: %w", name, err)
	}
	return f, nil
}

func inUse(path string, pid int, alive bool, err error) error {
	switch {
	case !errors.Is(err, unix.EWOULDBLOCK):
		return fmt.Errorf("datadir: lock %s: %w", path, err)
	case alive:
		return fmt.Errorf("%w: %s is served by process %d: stop it with `kill %d`, or name "+
			"another directory", ErrInUse, path, pid, pid)
	}
	return fmt.Errorf("%w: processes started by the supervisor %d, which is gone, still hold %s: "+
		"find them with `fuser %s/%s`", ErrInUse, pid, path, path, lockName)
}

func holder(f *os.File) int {
	text := make([]byte, 32)
	n, _ := f.ReadAt(text, 0)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	return pid
}

// settle reads or makes the layout and writes it when it changed.
func (d *Dir) settle(want Want) error {
	old, err := Read(d.Path)
	if errors.Is(err, ErrNone) {
		if d.Layout, err = create(want); err != nil {
			return err
		}
		return d.write()
	}
	if err != nil {
		return err
	}
	if want.Nodes != 0 && want.Nodes != len(old.Nodes) {
		return fmt.Errorf("%w: --nodes %d: %s was made with %d nodes, and that stays: leave the "+
			"flag away or name another directory", config.ErrInvalid, want.Nodes, d.Path,
			len(old.Nodes))
	}
	d.Layout = old
	if !anyPort(want.NBD) { // the one chosen at the first start stays
		override(&d.Layout.Gateway.Listen, want.NBD)
	}
	override(&d.Layout.Gateway.Socket, want.Socket)
	override(&d.Layout.Volume, want.Volume)
	d.Layout.AllowVolatileCache = old.AllowVolatileCache || want.AllowVolatileCache
	if err := d.Layout.upgrade(); err != nil {
		return err
	}
	return d.write()
}

func override(field *string, value string) {
	if value != "" {
		*field = value
	}
}

func create(want Want) (Layout, error) {
	if want.Nodes == 0 {
		want.Nodes = 3
	}
	if want.Nodes < 1 || want.Nodes > nodesMax {
		return Layout{}, fmt.Errorf("%w: --nodes %d: use 1 to %d", config.ErrInvalid, want.Nodes,
			nodesMax)
	}
	if want.NBD == "" {
		want.NBD = config.DefaultNBDAddr
	}
	ports, err := loopback.Addrs(2*want.Nodes + 3)
	if err != nil {
		return Layout{}, err
	}
	if anyPort(want.NBD) {
		want.NBD = ports[2]
	}
	l := Layout{Kind: kind, Format: format, Control: ports[0], Admin: ports[1],
		Volume: want.Volume, Gateway: Gateway{Listen: want.NBD, Socket: want.Socket},
		AllowVolatileCache: want.AllowVolatileCache}
	for i := range want.Nodes {
		l.Nodes = append(l.Nodes, Node{Name: fmt.Sprintf("n%d", i+1), Listen: ports[2*i+3],
			Admin: ports[2*i+4]})
	}
	return l, nil
}

// upgrade gives a directory of an earlier format what it lacks.
func (l *Layout) upgrade() error {
	if l.Format == format {
		return nil
	}
	ports, err := loopback.Addrs(len(l.Nodes) + 1)
	if err != nil {
		return err
	}
	l.Format, l.Admin = format, ports[0]
	for i := range l.Nodes {
		l.Nodes[i].Admin = ports[i+1]
	}
	return nil
}

// write replaces cluster.yaml as a whole, durably.
func (d *Dir) write() error {
	text, err := config.Render(d.Layout)
	if err != nil {
		return err
	}
	return WriteFile(filepath.Join(d.Path, fileName), text)
}

// WriteFile replaces a file as a whole: a reader, and a restart after a power cut, finds the old
// content or the new.
func WriteFile(name string, text []byte) error {
	f, err := os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("datadir: %w", err)
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err == nil {
		err = syncDir(filepath.Dir(name))
	}
	if err != nil {
		return fmt.Errorf("datadir: write %s: %w", name, err)
	}
	return nil
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
