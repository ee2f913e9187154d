package probe

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// ErrRefused is the class of errors of features that cannot be attached here.
var ErrRefused = errors.New("probe: refused")

// Refused says why a feature cannot be attached, and what would help.
type Refused struct {
	Feature    Feature
	Cause, Fix string
	Err        error // of the kernel; nil: it was not asked
}

func (r *Refused) Error() string {
	text := fmt.Sprintf("probe: %s: %s; %s", r.Feature, r.Cause, r.Fix)
	if r.Err != nil {
		text += fmt.Sprintf(" (%v)", r.Err)
	}
	return text
}

// Is has all of them belong to the class.
func (r *Refused) Is(target error) bool { return target == ErrRefused }

func (r *Refused) Unwrap() error { return r.Err }

// system is what decides whether a claim holds; tests have their own.
type system struct {
	major, minor int
	release      string
	btf          bool
	root         bool
	queues       bool   // the kernel keeps how long threads wait
	lockdown     string // mode of the kernel; "": not built in, or not on
}

func thisSystem() system {
	var s system
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		s.release = unix.ByteSliceToString(u.Release[:])
		s.major, s.minor = version(s.release)
	}
	_, err := os.Stat("/sys/kernel/btf/vmlinux")
	s.btf = err == nil
	s.queues = s.btf && keepsQueues()
	s.root = os.Geteuid() == 0
	if text, err := os.ReadFile("/sys/kernel/security/lockdown"); err == nil {
		s.lockdown = lockdownMode(string(text))
	}
	return s
}

// keepsQueues reports whether the kernel's types have what the probe of the run queue reads.
func keepsQueues() bool {
	types, err := btf.LoadKernelSpec()
	if err != nil {
		return false
	}
	for name, field := range map[string]string{"sched_info": "last_queued",
		"sched_entity": "cfs_rq", "cfs_rq": "rq"} {
		var found *btf.Struct
		if types.TypeByName(name, &found) != nil || !slices.ContainsFunc(found.Members,
			func(m btf.Member) bool { return m.Name == field }) {
			return false
		}
	}
	return true
}

// version reads the first two numbers of a release.
func version(release string) (major, minor int) {
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return 0, 0
	}
	return major, minor
}

// lockdownMode reads the one in brackets: "none [integrity] confidentiality".
func lockdownMode(text string) string {
	_, rest, _ := strings.Cut(text, "[")
	mode, _, _ := strings.Cut(rest, "]")
	if mode == "none" {
		return ""
	}
	return mode
}

// unmet names a condition of a claim that does not hold; nil: all do.
func (s system) unmet(c *Claim) *Refused {
	r := &Refused{Feature: c.Feature}
	switch {
	case c.Feature == Marks && runtime.GOARCH != "amd64":
		r.Cause = "there are no markers for " + runtime.GOARCH
		r.Fix = "use the other features"
	case s.major < c.Major || s.major == c.Major && s.minor < c.Minor:
		r.Cause = fmt.Sprintf("this kernel is %s, it needs %d.%d", s.release, c.Major, c.Minor)
		r.Fix = "use a newer kernel, or the features that need less"
	case !s.btf:
		r.Cause = "the kernel does not describe its types (no /sys/kernel/btf/vmlinux)"
		r.Fix = "use a kernel with CONFIG_DEBUG_INFO_BTF, as distributions build them"
	case c.Feature == RunQueue && !s.queues:
		r.Cause = "the kernel does not keep how long threads wait for a processor"
		r.Fix = "use one with CONFIG_SCHED_INFO and CONFIG_FAIR_GROUP_SCHED, as distributions " +
			"build them"
	case s.lockdown == "confidentiality":
		r.Cause = "the kernel is locked down for confidentiality, which forbids programs that " +
			"read memory"
		r.Fix = "boot with lockdown=integrity, or trace with `ashlar_store_request_seconds` only"
	default:
		return nil
	}
	return r
}

// explain makes an error of the loader one that says what to do.
func (s system) explain(f Feature, err error) error {
	r := &Refused{Feature: f, Err: err}
	switch {
	case errors.Is(err, unix.EPERM) && !s.root:
		r.Cause = "not allowed"
		r.Fix = "run it as root, or with the capabilities CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE"
	case errors.Is(err, unix.EPERM):
		r.Cause = "not allowed, even as root"
		r.Fix = "look for a seccomp filter, a container without CAP_BPF, or a locked-down kernel"
	case errors.Is(err, link.ErrNoSymbol):
		r.Cause = "the program has no symbols, by which markers are found"
		r.Fix = "run one that was built without -ldflags=-s"
	case errors.Is(err, btf.ErrNotFound), errors.Is(err, ebpf.ErrNotSupported),
		errors.Is(err, unix.ENOENT):
		r.Cause = "this kernel has no such tracepoint"
		r.Fix = "use a kernel that was built with it, or the other features"
	default:
		return fmt.Errorf("probe: %s: %w", f, err)
	}
	return r
}
