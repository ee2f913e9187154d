package faultfs

import (
	"context"
	"os"
	"path"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// node is a file or a directory of the mount. It holds nothing: names are in the backing directory,
// data that is not there yet is in FS.files.
type node struct {
	fs.Inode
	fs *FS
}

// handle is an open file.
type handle struct{ file *file }

func (n *node) name() string             { return n.Path(nil) }
func (n *node) child(name string) string { return path.Join(n.name(), name) }

// openFlags has every read and write come here, and writes of one file side by side.
const openFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_PARALLEL_DIRECT_WRITES

func (n *node) names(name string) syscall.Errno { return n.fs.begin(name, Names, 0, 0) }

// stat describes a name as readers see it.
func (n *node) stat(name string, attr *fuse.Attr) syscall.Errno {
	var st syscall.Stat_t
	if err := syscall.Lstat(n.fs.journal.path(name), &st); err != nil {
		return errnoOf(err)
	}
	n.fs.describe(&st, attr)
	return 0
}

func (f *FS) describe(st *syscall.Stat_t, attr *fuse.Attr) {
	attr.FromStat(st)
	if file := f.known(st.Ino); file != nil && st.Mode&syscall.S_IFMT == syscall.S_IFREG {
		file.mu.Lock()
		attr.Size = uint64(file.size)
		file.mu.Unlock()
	}
}

func (n *node) inode(ctx context.Context, name string, out *fuse.EntryOut) (
	*fs.Inode, syscall.Errno,
) {
	if errno := n.stat(name, &out.Attr); errno != 0 {
		return nil, errno
	}
	id := fs.StableAttr{Mode: out.Attr.Mode & syscall.S_IFMT, Ino: out.Attr.Ino}
	return n.NewInode(ctx, &node{fs: n.fs}, id), 0
}

// Lookup implements fs.NodeLookuper.
func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (
	*fs.Inode, syscall.Errno,
) {
	name = n.child(name)
	if errno := n.fs.begin(name, 0, 0, 0); errno != 0 {
		return nil, errno
	}
	defer n.fs.end()
	return n.inode(ctx, name, out)
}

// Getattr implements fs.NodeGetattrer.
func (n *node) Getattr(_ context.Context, h fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	if errno := n.fs.begin(n.name(), 0, 0, 0); errno != 0 {
		return errno
	}
	defer n.fs.end()
	return n.getattr(h, out)
}

func (n *node) getattr(h fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	open, ok := h.(*handle)
	if !ok {
		return n.stat(n.name(), &out.Attr)
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(int(open.file.back.Fd()), &st); err != nil {
		return errnoOf(err)
	}
	n.fs.describe(&st, &out.Attr)
	return 0
}

// Setattr implements fs.NodeSetattrer. Owners and times are taken and not kept: nothing that runs
// here looks at them.
func (n *node) Setattr(_ context.Context, h fs.FileHandle, in *fuse.SetAttrIn,
	out *fuse.AttrOut,
) syscall.Errno {
	name := n.name()
	if errno := n.names(name); errno != 0 {
		return errno
	}
	defer n.fs.end()
	if mode, ok := in.GetMode(); ok {
		if err := syscall.Chmod(n.fs.journal.path(name), mode&0o777); err != nil {
			return errnoOf(err)
		}
	}
	if size, ok := in.GetSize(); ok {
		if errno := n.truncate(name, h, int64(size)); errno != 0 {
			return errno
		}
	}
	return n.getattr(h, out)
}

func (n *node) truncate(name string, h fs.FileHandle, size int64) syscall.Errno {
	if open, ok := h.(*handle); ok {
		return open.file.truncate(size)
	}
	file, errno := n.open(name)
	if errno != 0 {
		return errno
	}
	defer n.fs.detach(file)
	return file.truncate(size)
}

func (n *node) open(name string) (*file, syscall.Errno) {
	back, err := os.OpenFile(n.fs.journal.path(name), os.O_RDWR, 0)
	if err != nil {
		return nil, errnoOf(err)
	}
	file, err := n.fs.attach(name, back, false)
	return file, errnoOf(err)
}

// Open implements fs.NodeOpener.
func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	name := n.name()
	if errno := n.fs.begin(name, 0, 0, 0); errno != 0 {
		return nil, 0, errno
	}
	defer n.fs.end()
	file, errno := n.open(name)
	if errno == 0 && flags&syscall.O_TRUNC != 0 {
		errno = file.truncate(0)
	}
	if errno != 0 {
		return nil, 0, errno
	}
	return &handle{file}, openFlags, 0
}

// Create implements fs.NodeCreater.
func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (
	*fs.Inode, fs.FileHandle, uint32, syscall.Errno,
) {
	name = n.child(name)
	if errno := n.names(name); errno != 0 {
		return nil, nil, 0, errno
	}
	defer n.fs.end()
	if left, bound := n.fs.space.now(); bound && left == 0 {
		return nil, nil, 0, syscall.ENOSPC
	}
	var st syscall.Stat_t
	if syscall.Lstat(n.fs.journal.path(name), &st) == nil {
		return nil, nil, 0, syscall.EEXIST // the kernel looks up first
	}
	back, err := n.fs.journal.create(name, int(flags)&syscall.O_EXCL, mode)
	if err != nil {
		return nil, nil, 0, errnoOf(err)
	}
	file, err := n.fs.attach(name, back, true)
	if err != nil {
		return nil, nil, 0, errnoOf(err)
	}
	inode, errno := n.inode(ctx, name, out)
	return inode, &handle{file}, openFlags, errno
}

// Mkdir implements fs.NodeMkdirer.
func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (
	*fs.Inode, syscall.Errno,
) {
	name = n.child(name)
	if errno := n.names(name); errno != 0 {
		return nil, errno
	}
	defer n.fs.end()
	if err := n.fs.journal.mkdir(name, mode); err != nil {
		return nil, errnoOf(err)
	}
	return n.inode(ctx, name, out)
}

// Unlink implements fs.NodeUnlinker.
func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	name = n.child(name)
	if errno := n.names(name); errno != 0 {
		return errno
	}
	defer n.fs.end()
	var attr fuse.Attr
	if errno := n.stat(name, &attr); errno != 0 {
		return errno
	}
	if err := n.fs.journal.unlink(name); err != nil {
		return errnoOf(err)
	}
	n.fs.space.give(int64(attr.Size))
	return 0
}

// Rmdir implements fs.NodeRmdirer.
func (n *node) Rmdir(_ context.Context, name string) syscall.Errno {
	name = n.child(name)
	if errno := n.names(name); errno != 0 {
		return errno
	}
	defer n.fs.end()
	return errnoOf(n.fs.journal.rmdir(name))
}

// Rename implements fs.NodeRenamer.
func (n *node) Rename(_ context.Context, name string, parent fs.InodeEmbedder, newName string,
	flags uint32,
) syscall.Errno {
	from, to := n.child(name), path.Join(parent.EmbeddedInode().Path(nil), newName)
	if errno := n.names(from); errno != 0 {
		return errno
	}
	defer n.fs.end()
	if flags&^unix.RENAME_NOREPLACE != 0 {
		return syscall.EINVAL
	}
	if err := n.fs.journal.rename(from, to, flags == 0); err != nil {
		return errnoOf(err)
	}
	n.fs.renamed(from, to)
	return 0
}

// Opendir implements fs.NodeOpendirer.
func (n *node) Opendir(context.Context) syscall.Errno { return 0 }

// Readdir implements fs.NodeReaddirer.
func (n *node) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	name := n.name()
	if errno := n.fs.begin(name, 0, 0, 0); errno != 0 {
		return nil, errno
	}
	defer n.fs.end()
	return fs.NewLoopbackDirStream(n.fs.journal.path(name))
}

// Fsync implements fs.NodeFsyncer, for files and directories.
func (n *node) Fsync(_ context.Context, h fs.FileHandle, _ uint32) syscall.Errno {
	open, ok := h.(*handle)
	name := n.name()
	if ok {
		name = open.file.path()
	}
	if errno := n.fs.begin(name, Sync, 0, 0); errno != 0 {
		return errno
	}
	defer n.fs.end()
	switch {
	case ok:
		return open.file.sync(0, 0, true)
	case n.fs.lies.Load():
		return 0
	}
	return errnoOf(n.fs.commitNames())
}

// Statfs implements fs.NodeStatfser.
func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	if errno := n.fs.begin(n.name(), 0, 0, 0); errno != 0 {
		return errno
	}
	defer n.fs.end()
	var st syscall.Statfs_t
	if err := syscall.Statfs(n.fs.journal.data, &st); err != nil {
		return errnoOf(err)
	}
	out.FromStatfsT(&st)
	if left, bound := n.fs.space.now(); bound {
		out.Bavail = min(out.Bavail, uint64(left)/uint64(out.Bsize))
		out.Bfree = out.Bavail
	}
	return 0
}

// Read implements fs.FileReader.
func (h *handle) Read(_ context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	f := h.file
	if errno := f.fs.begin(f.path(), Read, off, int64(len(dest))); errno != 0 {
		return nil, errno
	}
	defer f.fs.end()
	n, errno := f.read(dest, off)
	return fuse.ReadResultData(dest[:n]), errno
}

// Write implements fs.FileWriter.
func (h *handle) Write(ctx context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	f, kinds := h.file, Write
	durable := ctx.Done() == (<-chan struct{})(h.file.fs.durable)
	if durable {
		kinds |= Sync
	}
	if errno := f.fs.begin(f.path(), kinds, off, int64(len(data))); errno != 0 {
		return 0, errno
	}
	defer f.fs.end()
	errno := f.write(data, off)
	switch {
	case errno != 0:
	case durable:
		errno = f.sync(off, off+int64(len(data)), false)
	case f.fs.cached.Load() > f.fs.cfg.CacheBytes:
		f.mu.Lock()
		errno = f.persist(0, 0, true)
		f.mu.Unlock()
	}
	return uint32(len(data)), errno
}

// Allocate implements fs.FileAllocater.
func (h *handle) Allocate(_ context.Context, off, size uint64, mode uint32) syscall.Errno {
	f := h.file
	if errno := f.fs.begin(f.path(), Names, int64(off), int64(size)); errno != 0 {
		return errno
	}
	defer f.fs.end()
	switch mode {
	case 0:
		return f.allocate(int64(off), int64(size))
	case unix.FALLOC_FL_KEEP_SIZE: // room that nobody can see
		return 0
	}
	return syscall.EOPNOTSUPP
}

// Release implements fs.FileReleaser.
func (h *handle) Release(context.Context) syscall.Errno {
	h.file.fs.detach(h.file)
	return 0
}

func (f *file) path() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.name
}
