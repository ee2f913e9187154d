package server

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
)

// namespace is the tree of directories and of the volumes that have a name, as the Directory table
// has it. It changes only after the table did.
type namespace struct {
	root    *directory
	dirs    map[uint64]*directory // by id, the root included
	volumes int

	// The paths of all volumes and directories, in order; nil when something changed since.
	volumePaths, dirPaths []string
}

// directory is a node of the tree. Its names are those of volumes and directories, each used once.
type directory struct {
	id      uint64
	parent  *directory // nil: the root
	name    string
	created int64
	dirs    map[string]*directory
	volumes map[string]uint64
}

func newDirectory(id uint64, parent *directory, name string, created int64) *directory {
	return &directory{id: id, parent: parent, name: name, created: created,
		dirs: map[string]*directory{}, volumes: map[string]uint64{}}
}

func newNamespace() *namespace {
	root := newDirectory(meta.RootDir, nil, "", 0)
	return &namespace{root: root, dirs: map[uint64]*directory{meta.RootDir: root}}
}

// place is a name in the directory with the number, and what it leads to.
type place struct {
	parent uint64
	name   string
	entry  *meta.Entry
}

// build makes the tree of all entries of the table. What does not make one tree is ErrCorrupt: it
// would be half of a change.
func build(places []place) (*namespace, error) {
	s := newNamespace()
	for _, p := range places {
		id := p.entry.DirectoryID
		if id == 0 {
			continue
		}
		if s.dirs[id] != nil {
			return nil, fmt.Errorf("%w: directory %d has two names", meta.ErrCorrupt, id)
		}
		s.dirs[id] = newDirectory(id, nil, p.name, p.entry.CreatedNS)
	}
	for _, p := range places {
		parent := s.dirs[p.parent]
		if parent == nil {
			return nil, fmt.Errorf("%w: the name %q is in directory %d, which is not there",
				meta.ErrCorrupt, p.name, p.parent)
		}
		if d := s.dirs[p.entry.DirectoryID]; d != nil {
			d.parent, parent.dirs[p.name] = parent, d
		} else {
			parent.volumes[p.name] = p.entry.VolumeID
			s.volumes++
		}
	}
	reached := 0
	s.root.walk(func(*directory) { reached++ })
	if reached != len(s.dirs) {
		return nil, fmt.Errorf("%w: %d directories lie in one another and not in the root",
			meta.ErrCorrupt, len(s.dirs)-reached)
	}
	return s, nil
}

// walk calls fn for the directory and all below it.
func (d *directory) walk(fn func(*directory)) {
	fn(d)
	for _, sub := range d.dirs {
		sub.walk(fn)
	}
}

// path is empty for the root.
func (d *directory) path() string {
	if d.parent == nil {
		return ""
	}
	return d.parent.join(d.name)
}

// join is the path of a name in the directory.
func (d *directory) join(name string) string {
	if path := d.path(); path != "" {
		return path + "/" + name
	}
	return name
}

func (d *directory) empty() bool { return len(d.dirs)+len(d.volumes) == 0 }

func (d *directory) taken(name string) bool {
	_, volume := d.volumes[name]
	return volume || d.dirs[name] != nil
}

// within says whether the directory is other, or lies below it.
func (d *directory) within(other *directory) bool {
	for ; d != nil; d = d.parent {
		if d == other {
			return true
		}
	}
	return false
}

// directory finds a directory by its path; the empty one is the root's.
func (s *namespace) directory(path string) *directory {
	d := s.root
	for path != "" && d != nil {
		var name string
		name, path, _ = strings.Cut(path, "/")
		d = d.dirs[name]
	}
	return d
}

// volume finds the number of a volume by its path.
func (s *namespace) volume(path string) (uint64, bool) {
	parent, name := splitPath(path)
	d := s.directory(parent)
	if d == nil {
		return 0, false
	}
	id, ok := d.volumes[name]
	return id, ok
}

// splitPath divides a path into that of its directory and its last name.
func splitPath(path string) (parent, name string) {
	at := strings.LastIndexByte(path, '/')
	if at < 0 {
		return "", path
	}
	return path[:at], path[at+1:]
}

func (s *namespace) changed() { s.volumePaths, s.dirPaths = nil, nil }

func (s *namespace) addVolume(d *directory, name string, id uint64) {
	d.volumes[name] = id
	s.volumes++
	s.changed()
}

func (s *namespace) dropVolume(d *directory, name string) {
	delete(d.volumes, name)
	s.volumes--
	s.changed()
}

func (s *namespace) addDirectory(d *directory) {
	s.dirs[d.id] = d
	d.parent.dirs[d.name] = d
	s.changed()
}

func (s *namespace) dropDirectory(d *directory) {
	delete(s.dirs, d.id)
	delete(d.parent.dirs, d.name)
	s.changed()
}

// index makes the ordered lists of paths anew where something changed.
func (s *namespace) index() {
	if s.volumePaths != nil {
		return
	}
	s.volumePaths, s.dirPaths = []string{}, []string{}
	s.root.walk(func(d *directory) {
		prefix := ""
		if d != s.root {
			s.dirPaths = append(s.dirPaths, d.path())
			prefix = d.path() + "/"
		}
		for name := range d.volumes {
			s.volumePaths = append(s.volumePaths, prefix+name)
		}
	})
	slices.Sort(s.volumePaths)
	slices.Sort(s.dirPaths)
}
