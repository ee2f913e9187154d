package meter

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is where figures were measured.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory string `json:"memory"`
	Kernel string `json:"kernel"`
	FS     string `json:"file_system"`
	Disk   string `json:"disk"`
	Go     string `json:"go"`
}

// Describe finds out what this machine is, and what holds dir.
func Describe(dir string) Machine {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version(), CPU: "unknown"}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.CPU = field(text, "model name")
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kib float64
		if _, err := fmt.Sscanf(field(text, "MemTotal"), "%f kB", &kib); err == nil {
			m.Memory = fmt.Sprintf("%.0f GiB", kib/(1<<20))
		}
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	m.FS, m.Disk = fileSystem(dir)
	return m
}

// field is the value of the first line "name : value".
func field(text []byte, name string) string {
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

// fileSystem names the file system that holds dir and what is known of its disk.
func fileSystem(dir string) (fs, disk string) {
	var st unix.Stat_t
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || unix.Stat(dir, &st) != nil {
		return "unknown", "unknown"
	}
	dev := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	fs = "unknown"
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if i := strings.Index(line, " - "); len(f) > 2 && f[2] == dev && i > 0 {
			fs = strings.Fields(line[i+3:])[0]
		}
	}
	sys := "/sys/dev/block/" + dev
	if _, err := os.Stat(sys + "/queue"); err != nil {
		sys += "/.." // a partition has its disk's queue
	}
	disk = "unknown"
	if text, err := os.ReadFile(sys + "/queue/write_cache"); err == nil {
		disk = "write cache: " + strings.TrimSpace(string(text))
	}
	if text, err := os.ReadFile(sys + "/queue/fua"); err == nil {
		fua := map[bool]string{true: "yes", false: "no"}[strings.TrimSpace(string(text)) == "1"]
		disk += ", FUA: " + fua
	}
	return fs, disk
}
