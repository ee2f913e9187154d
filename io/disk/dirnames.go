package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// zeroChunk is the size of the writes that fill a new file.
const zeroChunk = 1 << 20

// zeroes is a block of zeroes fit for direct I/O; its pages are the kernel's zero page.
var zeroes = sync.OnceValue(func() []byte {
	p, err := unix.Mmap(-1, 0, zeroChunk, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		panic("disk: map a block of zeroes: " + err.Error())
	}
	return p
})

func (d *dirDisk) path(name string) string { return filepath.Join(d.root, name) }

// fault wraps what the kernel said about a name.
func fault(what, name string, err error) error {
	if err == unix.EMFILE {
		return fmt.Errorf("%w: %s %s: raise the limit of the process (ulimit -n, LimitNOFILE= of "+
			"its unit) above the number of chunks", ErrFileLimit, what, name)
	}
	return fmt.Errorf("%w: %s %s: %w", classOf(err), what, name, err)
}

func openFD(p string, flags int) (int, error) {
	for {
		fd, err := unix.Open(p, flags|unix.O_CLOEXEC, 0o600)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// Open implements Disk.
func (d *dirDisk) Open(name string) (File, error) {
	if err := d.enter("open", name); err != nil {
		return nil, err
	}
	defer d.gate.leave()
	d.makeRoom()
	fd, err := d.openName(name)
	if err != nil {
		return nil, fault("open", name, err)
	}
	id, err := identify(fd)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fault("open", name, err)
	}
	return d.newFile(fd, name, id), nil
}

// openName opens a file as the disk is used. A file to be looked at may lie where direct I/O
// is refused, and looking leaves no access time where the kernel allows that.
func (d *dirDisk) openName(name string) (int, error) {
	if !d.readOnly {
		return openFD(d.path(name), unix.O_RDWR|d.direct)
	}
	fd, err := openFD(d.path(name), unix.O_RDONLY|unix.O_NOATIME|d.direct)
	if err == unix.EPERM {
		fd, err = openFD(d.path(name), unix.O_RDONLY|d.direct)
	}
	if err == unix.EINVAL {
		fd, err = openFD(d.path(name), unix.O_RDONLY)
	}
	return fd, err
}

// Create implements Disk. The file is made under another name and moved when it is whole and
// durable, so a crash never leaves half of it under its own.
func (d *dirDisk) Create(name string, size int64) (File, error) {
	if err := checkSize(name, size); err != nil {
		return nil, err
	}
	if err := d.enter("create", name); err != nil {
		return nil, err
	}
	defer d.gate.leave()
	if err := unix.Access(d.path(name), unix.F_OK); err == nil {
		return nil, fault("create", name, unix.EEXIST)
	}
	d.makeRoom()
	// One temporary name for each name: of two that create the same file one fails.
	tmp := d.tmpPath(name, tmpPrefix+"-")
	fd, err := openFD(tmp, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|d.direct)
	if err != nil {
		return nil, fault("create", name, err)
	}
	var id fileIdentity
	err = d.fill(fd, size)
	if err == nil {
		id, err = identify(fd)
	}
	if err == nil {
		err = unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, d.path(name),
			unix.RENAME_NOREPLACE)
	}
	if err != nil {
		_ = unix.Close(fd)
		_ = unix.Unlink(tmp)
		return nil, fault("create", name, err)
	}
	if err := d.syncDir(path.Dir(name)); err != nil {
		_ = unix.Close(fd)
		_ = unix.Unlink(d.path(name))
		return nil, fault("create", name, err)
	}
	return d.newFile(fd, name, id), nil
}

// fill allocates a file, writes all of it once and makes it durable. Writing matters: extents
// that are only allocated cost a journal commit at the first overwrite.
func (d *dirDisk) fill(fd int, size int64) error {
	if err := retry(func() error { return unix.Fallocate(fd, 0, 0, size) }); err != nil {
		if err != unix.EOPNOTSUPP {
			return err
		}
	}
	for off := int64(0); off < size; {
		p := zeroes()[:min(zeroChunk, size-off)]
		n, err := unix.Pwrite(fd, p, off)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case n == 0 || n%BlockSize != 0: // a full device may cut the last write
			return unix.ENOSPC
		}
		off += int64(n)
		d.count.write(n, false)
	}
	d.count.syncs.Add(1)
	return fdatasync(fd)
}

func fdatasync(fd int) error {
	for {
		if err := unix.Fdatasync(fd); err != unix.EINTR {
			return err
		}
	}
}

func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

func (d *dirDisk) tmpPath(name, prefix string) string {
	dir, base := path.Split(name)
	return d.path(dir + prefix + base)
}

// syncDir makes the entries of a directory durable.
func (d *dirDisk) syncDir(dir string) error {
	fd, err := openFD(d.path(dir), unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	d.count.syncs.Add(1)
	return retry(func() error { return unix.Fsync(fd) })
}

// Rename implements Disk.
func (d *dirDisk) Rename(oldname, newname string) error {
	if err := d.enter("rename", oldname, newname); err != nil {
		return err
	}
	defer d.gate.leave()
	if err := unix.Rename(d.path(oldname), d.path(newname)); err != nil {
		return fault("rename", oldname+" to "+newname, err)
	}
	err := d.syncDir(path.Dir(newname))
	if from := path.Dir(oldname); err == nil && from != path.Dir(newname) {
		err = d.syncDir(from)
	}
	if err != nil {
		return fault("rename", oldname+" to "+newname, err)
	}
	return nil
}

// Remove implements Disk.
func (d *dirDisk) Remove(name string) error {
	if err := d.enter("remove", name); err != nil {
		return err
	}
	defer d.gate.leave()
	err := unix.Unlink(d.path(name))
	if err == nil {
		err = d.syncDir(path.Dir(name))
	}
	if err != nil {
		return fault("remove", name, err)
	}
	return nil
}

// List implements Disk.
func (d *dirDisk) List(dir string) ([]string, error) {
	dir, err := d.enterDir("list", dir)
	if err != nil {
		return nil, err
	}
	defer d.gate.leave()
	entries, err := os.ReadDir(d.path(dir))
	if err != nil {
		return nil, fault("list", dir, err)
	}
	names := []string{}
	for _, e := range entries {
		if checkName(path.Join(dir, e.Name())) == nil {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// MkdirAll implements Disk.
func (d *dirDisk) MkdirAll(dir string) error {
	dir, err := d.enterDir("mkdir", dir)
	if err != nil {
		return err
	}
	defer d.gate.leave()
	for end := range dir + "/" {
		if end == 0 || (end < len(dir) && dir[end] != '/') {
			continue
		}
		if err := d.mkdir(dir[:end]); err != nil {
			return fault("mkdir", dir, err)
		}
	}
	return nil
}

// mkdir makes one directory. Its entry is synced even if it was there: the process that made
// it may have died before.
func (d *dirDisk) mkdir(dir string) error {
	err := unix.Mkdir(d.path(dir), 0o700)
	if err == unix.EEXIST {
		st, serr := os.Stat(d.path(dir))
		if serr != nil {
			return serr
		}
		if !st.IsDir() {
			return err
		}
	} else if err != nil {
		return err
	}
	return d.syncDir(path.Dir(dir))
}

// ReadFile implements Disk.
func (d *dirDisk) ReadFile(name string) ([]byte, error) {
	if err := d.enter("read", name); err != nil {
		return nil, err
	}
	defer d.gate.leave()
	st, err := os.Stat(d.path(name))
	if err != nil {
		return nil, fault("read", name, err)
	}
	if err := checkLength("read", name, st.Size()); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(d.path(name))
	if err != nil {
		return nil, fault("read", name, err)
	}
	d.count.read(len(data))
	return data, nil
}

// WriteFile implements Disk.
func (d *dirDisk) WriteFile(name string, data []byte) error {
	if err := d.enter("write", name); err != nil {
		return err
	}
	defer d.gate.leave()
	if err := checkLength("write", name, int64(len(data))); err != nil {
		return err
	}
	tmp := d.tmpPath(name, fmt.Sprintf("%s%d-", tmpPrefix, d.tmpSeq.Add(1)))
	err := d.writeTmp(tmp, data)
	if err == nil {
		err = unix.Rename(tmp, d.path(name))
	}
	if err != nil {
		_ = unix.Unlink(tmp)
		return fault("write", name, err)
	}
	if err := d.syncDir(path.Dir(name)); err != nil {
		return fault("write", name, err)
	}
	return nil
}

func (d *dirDisk) writeTmp(tmp string, data []byte) error {
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		d.count.write(len(data), true)
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// classOf returns the class of an error of the kernel or of a fault hook.
func classOf(cause error) error {
	is := func(target error) bool { return errors.Is(cause, target) }
	switch {
	case is(ErrNoSpace), is(unix.ENOSPC), is(unix.EDQUOT):
		return ErrNoSpace
	case is(unix.EMFILE), is(unix.ENFILE):
		return ErrFileLimit
	case is(fs.ErrExist):
		return ErrExists
	case is(fs.ErrNotExist), is(unix.ENOTDIR), is(unix.EISDIR):
		return ErrNotExist
	}
	return ErrIO
}
