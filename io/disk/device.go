package disk

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// devDisk is a block device, or a large file in its place, that holds the files of a disk itself.
// Open files are ranges of its one descriptor.
type devDisk struct {
	fdDisk
	fd    int
	names *deviceNames
}

// OpenDevice opens a device that FormatDevice has made, or a large file, and locks it: ErrLocked
// when another process has it or it is mounted. ErrForeign when it carries something else or
// nothing, ErrCorrupt when files are missing because both copies of their entries are damaged.
func OpenDevice(path string, cfg Config) (Disk, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return openDevice(path, cfg, access{})
}

// access is how a device is opened.
type access struct {
	look   bool // nothing is ever written
	shared bool // and others may use it meanwhile
}

func openDevice(path string, cfg Config, how access) (Disk, error) {
	fd, direct, err := openWhole(path, how)
	if err != nil {
		return nil, err
	}
	if !direct {
		cfg.Logger.Warn("file system has no direct I/O: using its cache, expect uneven latency",
			"device", path)
	}
	d := &devDisk{fdDisk: newFDDisk(path, cfg.Logger), fd: fd}
	m, err := d.whole()
	if err == nil {
		d.names, err = openNames(m, how.look, cfg.Logger)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("disk: device %s: %w", path, err)
	}
	d.engine = d.newEngine(cfg)
	d.log.Info("disk opened", "device", path, "engine", d.engine.name(), "direct", direct)
	return d, nil
}

// openWhole opens and locks a device or a file.
func openWhole(path string, how access) (fd int, direct bool, err error) {
	st, err := os.Stat(path)
	if err != nil {
		return 0, false, fmt.Errorf("%w: open device: %w", classOf(err), err)
	}
	flags := unix.O_RDWR
	if how.look {
		flags = unix.O_RDONLY
	}
	isDevice := st.Mode()&os.ModeDevice != 0 && st.Mode()&os.ModeCharDevice == 0
	switch {
	case !isDevice && !st.Mode().IsRegular():
		return 0, false, fmt.Errorf("%w: %s is neither a block device nor a file", ErrInvalid, path)
	case isDevice && !how.shared:
		flags |= unix.O_EXCL // the kernel's claim: mounts and other stores have it too
	}
	fd, err = openFD(path, flags|unix.O_DIRECT)
	if direct = err == nil; err == unix.EINVAL && !isDevice {
		fd, err = openFD(path, flags)
	}
	if err == unix.EBUSY {
		return 0, false, fmt.Errorf("%w: %s is in use by another process, or mounted: see `fuser "+
			"-vm %[2]s` and `lsblk %[2]s`", ErrLocked, path)
	}
	if err != nil {
		return 0, false, fmt.Errorf("%w: open %s: %w", classOf(err), path, err)
	}
	if err := lockWhole(fd, path, isDevice, how); err != nil {
		_ = unix.Close(fd)
		return 0, false, err
	}
	return fd, direct, nil
}

// lockWhole locks a file as a directory is locked. A block device is claimed already, and has
// sectors that are looked at here.
func lockWhole(fd int, path string, isDevice bool, how access) error {
	if isDevice {
		n, err := unix.IoctlGetInt(fd, unix.BLKSSZGET)
		if err == nil && n > BlockSize {
			err = fmt.Errorf("sectors of %d bytes, %d at most", n, BlockSize)
		}
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrInvalid, path, err)
		}
		return nil
	}
	lock := unix.LOCK_EX
	if how.look {
		lock = unix.LOCK_SH
	}
	err := unix.Flock(fd, lock|unix.LOCK_NB)
	switch {
	case err == nil || err == unix.EWOULDBLOCK && how.shared:
		return nil
	case err == unix.EWOULDBLOCK:
		return fmt.Errorf("%w: %s is in use by another process: see `fuser -v %[2]s`", ErrLocked,
			path)
	}
	return fmt.Errorf("%w: lock %s: %w", ErrIO, path, err)
}

// whole is the device as a file. Calls on it come from within calls on the disk, whose gate they
// leave alone.
func (d *devDisk) whole() (*fdFile, error) {
	size, err := unix.Seek(d.fd, 0, unix.SEEK_END)
	if err != nil {
		return nil, fmt.Errorf("%w: size: %w", ErrIO, err)
	}
	return &fdFile{disk: &d.fdDisk, outer: new(gate), fd: d.fd, name: d.root, size: size}, nil
}

// FormatDevice makes an empty device of a block device or a large file, and returns how many
// bytes and files it has room for. ErrExists when it is not blank, unless force says to erase it.
func FormatDevice(path string, force bool) (bytes, files int64, err error) {
	fd, _, err := openWhole(path, access{})
	if err != nil {
		return 0, 0, err
	}
	d := &devDisk{fdDisk: newFDDisk(path, slog.Default()), fd: fd}
	m, err := d.whole()
	var sb superblock
	if err == nil {
		sb, err = layOut(newDeviceID(), m.size)
	}
	if err == nil {
		err = format(m, &sb, force)
	}
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return 0, 0, fmt.Errorf("disk: device %s: %w", path, err)
	}
	return sb.blocks().count * BlockSize, sb.entries, nil
}

// devHome is where an open file of a device lies.
type devHome struct {
	disk *devDisk
	node *devNode
}

// unpark implements home. A file of a device has no descriptor of its own to give up.
func (h *devHome) unpark(*fdFile) error { return nil }

// release implements home.
func (h *devHome) release(*fdFile) error {
	h.disk.names.release(h.node)
	return nil
}

func (d *devDisk) newFile(name string, n *devNode) *fdFile {
	return d.hold(&fdFile{home: &devHome{d, n}, fd: d.fd, base: n.first * BlockSize, name: name,
		size: n.size})
}

// Open implements Disk.
func (d *devDisk) Open(name string) (File, error) {
	if err := d.enter("open", name); err != nil {
		return nil, err
	}
	defer d.gate.leave()
	n, err := d.names.find("open", name)
	if err != nil {
		return nil, err
	}
	return d.newFile(name, n), nil
}

// Create implements Disk.
func (d *devDisk) Create(name string, size int64) (File, error) {
	if err := checkSize(name, size); err != nil {
		return nil, err
	}
	if err := d.enter("create", name); err != nil {
		return nil, err
	}
	defer d.gate.leave()
	n, err := d.names.create(name, size)
	if err != nil {
		return nil, err
	}
	return d.newFile(name, n), nil
}

// Rename implements Disk.
func (d *devDisk) Rename(oldname, newname string) error {
	if err := d.enter("rename", oldname, newname); err != nil {
		return err
	}
	defer d.gate.leave()
	return d.names.rename(oldname, newname)
}

// Remove implements Disk.
func (d *devDisk) Remove(name string) error {
	if err := d.enter("remove", name); err != nil {
		return err
	}
	defer d.gate.leave()
	return d.names.remove(name)
}

// List implements Disk.
func (d *devDisk) List(dir string) ([]string, error) {
	dir, err := d.enterDir("list", dir)
	if err != nil {
		return nil, err
	}
	defer d.gate.leave()
	return d.names.list(dir)
}

// MkdirAll implements Disk.
func (d *devDisk) MkdirAll(dir string) error {
	dir, err := d.enterDir("mkdir", dir)
	if err != nil {
		return err
	}
	defer d.gate.leave()
	return d.names.mkdirAll(dir)
}

// ReadFile implements Disk.
func (d *devDisk) ReadFile(name string) ([]byte, error) {
	if err := d.enter("read", name); err != nil {
		return nil, err
	}
	defer d.gate.leave()
	return d.names.read(name)
}

// WriteFile implements Disk.
func (d *devDisk) WriteFile(name string, data []byte) error {
	if err := checkLength("write", name, int64(len(data))); err != nil {
		return err
	}
	if err := d.enter("write", name); err != nil {
		return err
	}
	defer d.gate.leave()
	return d.names.write(name, data)
}

// Space implements Disk.
func (d *devDisk) Space() (total, free int64, err error) {
	total, free = d.names.room()
	return total, free, nil
}

// Close implements Disk. Files still open are closed with it.
func (d *devDisk) Close() error {
	if err := d.shut(); err != nil {
		return err
	}
	if err := unix.Close(d.fd); err != nil {
		return fmt.Errorf("%w: close %s: %w", ErrIO, d.root, err)
	}
	return nil
}

// aligned returns zeroes fit for direct I/O.
func aligned(n int) []byte {
	p := make([]byte, n+BlockSize)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(p)))) & (BlockSize - 1)
	return p[skip : skip+n : skip+n]
}
