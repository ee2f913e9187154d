package server

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// Every change of a name is one transaction: the old entry goes and the new one comes together, so
// that a crash leaves one of the two. A volume's data knows its number and not its name, so that a
// rename costs the same for any size and its clients do not notice.

// loadNames reads the tree, and gives volumes in memory the paths that the tree has for them.
func (c *cluster) loadNames(r meta.Reader) error {
	var places []place
	err := meta.Directory.Scan(r, nil, nil, 0, func(k meta.Key, e *meta.Entry) error {
		parent, name, err := meta.SplitNameKey(k)
		places = append(places, place{parent: parent, name: name, entry: e})
		return err
	})
	if err != nil {
		return err
	}
	if c.space, err = build(places); err != nil {
		return err
	}
	named := map[uint64]bool{}
	c.space.root.walk(func(d *directory) {
		for name, id := range d.volumes {
			vol := c.volumes[id]
			if vol == nil || vol.State != stateOK || named[id] {
				err = fmt.Errorf("%w: the name %s leads to volume %d, which is not there, "+
					"deleted or named twice", meta.ErrCorrupt, d.join(name), id)
				continue
			}
			named[id] = true
		}
		c.nameVolumes(d)
	})
	for id, vol := range c.volumes {
		if vol.State == stateOK && !named[id] {
			err = fmt.Errorf("%w: volume %d (%s) is in no directory", meta.ErrCorrupt, id, vol.Name)
		}
	}
	return err
}

// nameVolumes gives the volumes directly in a directory the paths that they have now.
func (c *cluster) nameVolumes(d *directory) {
	for name, id := range d.volumes {
		if vol := c.volumes[id]; vol != nil && vol.Name != d.join(name) {
			rec := *vol
			rec.Name = d.join(name)
			c.volumes[id] = &rec
		}
	}
}

// directoryAt finds a directory by a path that a caller gave.
func (c *cluster) directoryAt(path string) (*directory, error) {
	d := c.space.directory(path)
	if d == nil {
		return nil, admin.Errorf(admin.ErrNotFound, "control: directory %.256q does not exist",
			path)
	}
	return d, nil
}

// newPlace finds the directory in which a new path would be, where its name is free.
func (c *cluster) newPlace(path string) (d *directory, name string, err error) {
	parent, name := splitPath(path)
	if d, err = c.directoryAt(parent); err != nil {
		return nil, "", admin.Errorf(admin.ErrNotFound, "control: directory %.256q does not "+
			"exist; make it first, or choose another place than %.256q", parent, path)
	}
	switch {
	case d.dirs[name] != nil:
		return nil, "", admin.Errorf(admin.ErrExists, "control: %s is a directory", path)
	case d.taken(name):
		return nil, "", admin.Errorf(admin.ErrExists, "control: volume %s already exists", path)
	}
	return d, name, nil
}

func (c *cluster) createDirectory(req *v1.CreateDirectoryRequest) (
	*v1.CreateDirectoryResponse, error,
) {
	if err := checkPath("directory path", req.Path); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	parent, name, err := c.newPlace(req.Path)
	if err != nil {
		return nil, err
	}
	if len(c.space.dirs) > maxDirectories {
		return nil, admin.Errorf(admin.ErrBusy, "control: there are %d directories, no more are "+
			"made", maxDirectories)
	}
	d := newDirectory(0, parent, name, c.cfg.Now().UnixNano())
	err = c.update(func(tx meta.Tx) (err error) {
		if d.id, err = meta.NextID(tx, meta.CounterVolume); err != nil {
			return err
		}
		return meta.Directory.Put(tx, meta.NameKey(parent.id, name), d.entry())
	})
	if err != nil {
		return nil, err
	}
	c.space.addDirectory(d)
	c.log.Info("directory created", "directory", req.Path, "id", d.id)
	return &v1.CreateDirectoryResponse{Directory: d.show()}, nil
}

func (d *directory) entry() *meta.Entry {
	return &meta.Entry{DirectoryID: d.id, CreatedNS: d.created}
}

func (d *directory) show() *v1.Directory {
	return &v1.Directory{DirectoryId: d.id, Path: d.path(), CreatedUnixNs: d.created,
		Volumes: uint64(len(d.volumes)), Directories: uint64(len(d.dirs))}
}

func (c *cluster) listDirectories(req *v1.ListDirectoriesRequest) (
	*v1.ListDirectoriesResponse, error,
) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.directoryAt(req.Directory); err != nil {
		return nil, err
	}
	c.space.index()
	paths, next, err := page(c.space.dirPaths, req.Directory, req.Recursive, req.PageSize,
		req.PageToken)
	if err != nil {
		return nil, err
	}
	resp := &v1.ListDirectoriesResponse{NextPageToken: next}
	for _, path := range paths {
		resp.Directories = append(resp.Directories, c.space.directory(path).show())
	}
	return resp, nil
}

func (c *cluster) removeDirectory(req *v1.RemoveDirectoryRequest) (
	*v1.RemoveDirectoryResponse, error,
) {
	if err := checkPath("directory path", req.Path); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	d, err := c.directoryAt(req.Path)
	if err != nil {
		return nil, err
	}
	if !d.empty() {
		return nil, admin.Errorf(admin.ErrBusy, "control: directory %s holds %d volumes and %d "+
			"directories; delete or move them first", req.Path, len(d.volumes), len(d.dirs))
	}
	err = c.update(func(tx meta.Tx) error {
		return errors.Join(meta.Directory.Delete(tx, meta.NameKey(d.parent.id, d.name)),
			c.erase(tx, d.id))
	})
	if err != nil {
		return nil, err
	}
	c.tookErased(d.id)
	c.space.dropDirectory(d)
	c.log.Info("directory removed", "directory", req.Path, "id", d.id)
	return &v1.RemoveDirectoryResponse{}, nil
}

func (c *cluster) renameDirectory(req *v1.RenameDirectoryRequest) (
	*v1.RenameDirectoryResponse, error,
) {
	if err := checkPath("path", req.Path); err != nil {
		return nil, err
	}
	if err := checkPath("new_path", req.NewPath); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	d, err := c.directoryAt(req.Path)
	if err != nil {
		return nil, err
	}
	to, name, err := c.newPlace(req.NewPath)
	if err != nil {
		return nil, err
	}
	if err := checkMove(d, to, req); err != nil {
		return nil, err
	}
	from, old := d.parent, d.name
	err = c.update(func(tx meta.Tx) error {
		return errors.Join(
			meta.Directory.Delete(tx, meta.NameKey(from.id, old)),
			meta.Directory.Put(tx, meta.NameKey(to.id, name), d.entry()))
	})
	if err != nil {
		return nil, err
	}
	c.space.dropDirectory(d)
	d.parent, d.name = to, name
	c.space.addDirectory(d)
	d.walk(c.nameVolumes)
	c.log.Info("directory renamed", "from", req.Path, "to", req.NewPath, "id", d.id)
	return &v1.RenameDirectoryResponse{Directory: d.show()}, nil
}

// checkMove refuses a move into itself, and one that makes paths below too long.
func checkMove(d, to *directory, req *v1.RenameDirectoryRequest) error {
	if to.within(d) {
		return admin.Errorf(admin.ErrInvalid, "control: directory %s cannot move into itself (%s)",
			req.Path, req.NewPath)
	}
	var err error
	d.walk(func(sub *directory) {
		names := []string{""}
		for name := range sub.volumes {
			names = append(names, "/"+name)
		}
		for _, name := range names {
			moved := req.NewPath + strings.TrimPrefix(sub.path(), req.Path) + name
			if err == nil {
				err = checkPath("path after the move", moved)
			}
		}
	})
	return err
}

// renameVolume takes the entry of one directory away and makes that of another as one.
func (c *cluster) renameVolume(req *v1.RenameVolumeRequest) (*v1.RenameVolumeResponse, error) {
	if err := checkPath("new_name", req.NewName); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	vol, err := c.named(req.Name)
	if err != nil {
		return nil, err
	}
	to, name, err := c.newPlace(req.NewName)
	if err != nil {
		return nil, err
	}
	from, old := c.placeOfVolume(vol)
	rec := *vol
	rec.Name = req.NewName
	err = c.update(func(tx meta.Tx) error {
		return errors.Join(
			meta.Directory.Delete(tx, meta.NameKey(from.id, old)),
			meta.Directory.Put(tx, meta.NameKey(to.id, name), &meta.Entry{VolumeID: rec.VolumeId}),
			meta.Volumes.Put(tx, meta.ID(rec.VolumeId), &rec))
	}, volumeNews("volume-renamed", &rec, "volume %s was renamed to %s", vol.Name, rec.Name))
	if err != nil {
		return nil, err
	}
	c.space.dropVolume(from, old)
	c.space.addVolume(to, name, rec.VolumeId)
	c.volumes[rec.VolumeId] = &rec
	c.log.Info("volume renamed", "from", req.Name, "to", rec.Name, "id", rec.VolumeId)
	return &v1.RenameVolumeResponse{Volume: &rec}, nil
}

// placeOfVolume is where a volume that has a name is.
func (c *cluster) placeOfVolume(vol *v1.Volume) (*directory, string) {
	parent, name := splitPath(vol.Name)
	return c.space.directory(parent), name
}
