// Package guest runs programs of this tree in a virtual machine with a kernel of the distribution:
// where the kernel must have what the machine at hand has not, such as an RDMA card.
//
//	k, err := guest.Fetch(ctx, folder, modules)
//	m := guest.Machine{Kernel: k, Memory: 256, Files: files, Job: job}
//	err = m.Run(ctx, func(line string) { ... })
//
// # What it promises
//
// The kernel is the distribution's own package, fetched and unpacked once into a folder; nothing
// is installed. The machine is emulated (no KVM is needed), has its files from an initial file
// system in memory, and ends by itself. Its first process is the very program that calls Run, in
// which Init does what a Job says: modules, an interface, a soft RDMA card on it, then the runs,
// one after another. What they print comes back line by line over a serial line that the kernel
// does not use.
//
// # How it fails
//
// A machine that does not say that it is over, or whose run ends with a status that is not 0, is an
// error with the end of the kernel's own messages. Without qemu, apt or xz it says which package is
// missing.
//
// # Limits
//
// Debian and what is like it, on amd64. limits.go.
package guest
