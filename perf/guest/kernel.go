package guest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Kernel is an unpacked kernel package.
type Kernel struct {
	Name    string // of the package
	Image   string // the ELF image
	Modules []Module
}

// needed are the programs without which there is no machine, and the package that has them.
var needed = [][2]string{{"qemu-system-x86_64", "qemu-system-x86"}, {"xz", "xz-utils"},
	{"apt-get", "apt"}, {"dpkg-deb", "dpkg"}}

// Fit says what is missing on this machine.
func Fit() error {
	var all []error
	for _, n := range needed {
		if _, err := exec.LookPath(n[0]); err != nil {
			all = append(all, fmt.Errorf("guest: no %s here: install the package %s", n[0], n[1]))
		}
	}
	return errors.Join(all...)
}

// Fetch gets the distribution's kernel, of the release of the day, into a folder with the modules
// of the given names and those that they need, in the order in which they are loaded. What an
// earlier call left there is used.
func Fetch(ctx context.Context, folder string, modules []string) (*Kernel, error) {
	name, err := kernelPackage(ctx)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(folder, name)
	if _, err := os.Stat(filepath.Join(dir, "complete")); err != nil {
		if err := unpack(ctx, folder, dir, name); err != nil {
			return nil, err
		}
	}
	k := &Kernel{Name: name, Image: filepath.Join(dir, "vmlinux")}
	k.Modules, err = inOrder(dir, modules)
	return k, err
}

var dependency = regexp.MustCompile(`Depends: (linux-image-[0-9][^\s]*)`)

// kernelPackage resolves the name, which changes with each release.
func kernelPackage(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-cache", "depends", "linux-image-amd64").Output()
	if err != nil {
		return "", fmt.Errorf("guest: apt-cache depends linux-image-amd64: %w (apt-get update "+
			"first?)", err)
	}
	m := dependency.FindSubmatch(out)
	if m == nil {
		return "", errors.New("guest: apt knows no linux-image-amd64: run apt-get update, on " +
			"Debian for amd64")
	}
	return string(m[1]), nil
}

// unpack makes dir of the package: image, modules that may be wanted, and a mark when all is there.
func unpack(ctx context.Context, folder, dir, name string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(folder, "unpack-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	get := exec.CommandContext(ctx, "apt-get", "download", "-q", name)
	get.Dir = work
	if out, err := get.CombinedOutput(); err != nil {
		return fmt.Errorf("guest: apt-get download %s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	debs, _ := filepath.Glob(filepath.Join(work, "*.deb"))
	if len(debs) != 1 {
		return fmt.Errorf("guest: apt-get download %s left %d packages", name, len(debs))
	}
	if err := extract(ctx, debs[0], work); err != nil {
		return err
	}
	if err := errors.Join(os.Remove(debs[0]), decompress(ctx, work),
		os.WriteFile(filepath.Join(work, "complete"), nil, 0o644)); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(work, dir)
}

// wanted are the parts of the package that are unpacked: of the 400 MB there are, 20.
var wanted = regexp.MustCompile(`^\./boot/vmlinuz-|^\./lib/modules/[^/]+/kernel/` +
	`(crypto|lib|fs/configfs|net/(core|ipv4|ipv6)|` +
	`drivers/(virtio|net/[^/]+\.ko|infiniband/(core|sw)))`)

// extract reads the package's files as a stream.
func extract(ctx context.Context, deb, dir string) error {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("guest: dpkg-deb: %w", err)
	}
	r := tar.NewReader(out)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err == nil && h.Typeflag == tar.TypeReg && wanted.MatchString(h.Name) {
			err = save(r, filepath.Join(dir, filepath.Base(h.Name)))
		}
		if err != nil {
			return errors.Join(fmt.Errorf("guest: %s: %w", deb, err), cmd.Process.Kill(),
				cmd.Wait())
		}
	}
	return cmd.Wait()
}

func save(r io.Reader, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// decompress makes the ELF image: booted directly it saves the machine the decompression, which
// takes longer there than all the rest of the start.
func decompress(ctx context.Context, dir string) error {
	names, _ := filepath.Glob(filepath.Join(dir, "vmlinuz-*"))
	if len(names) != 1 {
		return fmt.Errorf("guest: the package has %d kernels", len(names))
	}
	packed, err := os.ReadFile(names[0])
	if err != nil {
		return err
	}
	for at := 0; ; at++ {
		n := bytes.Index(packed[at:], []byte("\xfd7zXZ\x00"))
		if n < 0 {
			return errors.New("guest: the kernel is not packed with xz")
		}
		at += n
		cmd := exec.CommandContext(ctx, "xz", "-dc", "--single-stream")
		cmd.Stdin = bytes.NewReader(packed[at:])
		out, _ := cmd.Output() // what follows the stream is not xz's
		if bytes.HasPrefix(out, []byte("\x7fELF")) {
			return errors.Join(os.WriteFile(filepath.Join(dir, "vmlinux"), out, 0o644),
				os.Remove(names[0]))
		}
	}
}

// Module is a module of the kernel, as a file.
type Module struct{ Name, Path string }

// inOrder lists the modules and what each needs before it.
func inOrder(dir string, names []string) ([]Module, error) {
	var out []Module
	var visit func(name string, above []string) error
	visit = func(name string, above []string) error {
		if slices.ContainsFunc(out, func(m Module) bool { return m.Name == name }) ||
			slices.Contains(above, name) {
			return nil
		}
		path := modulePath(dir, name)
		if path == "" {
			return fmt.Errorf("guest: the kernel has no module %s (or none that is unpacked)", name)
		}
		needs, err := dependencies(path)
		if err != nil {
			return err
		}
		for _, n := range needs {
			if err := visit(n, append(above, name)); err != nil {
				return err
			}
		}
		out = append(out, Module{Name: name, Path: path})
		return nil
	}
	for _, name := range names {
		if err := visit(name, nil); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// modulePath is where a module is; empty if it is not there. Names have underscores, files either.
func modulePath(dir, name string) string {
	for _, spelled := range []string{name, strings.ReplaceAll(name, "_", "-")} {
		p := filepath.Join(dir, spelled+".ko")
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	return ""
}

// dependencies reads what a module says of itself: depmod has not seen it.
func dependencies(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	const key = "\x00depends="
	at := bytes.Index(text, []byte(key))
	if at < 0 {
		return nil, fmt.Errorf("guest: %s is no module", path)
	}
	list, _, _ := bytes.Cut(text[at+len(key):], []byte{0})
	return strings.FieldsFunc(string(list), func(r rune) bool { return r == ',' }), nil
}
