package probe

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// DeviceOf names the device that a store's path is, or that its file system is on.
func DeviceOf(path string) string {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return path
	}
	dev := st.Dev
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		dev = st.Rdev
	}
	return fmt.Sprintf("%s of %s", deviceName(unix.Major(dev), unix.Minor(dev)), path)
}

// deviceName is a block device's name, or its numbers where it has none, as a FUSE file system.
func deviceName(major, minor uint32) string {
	link, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", major, minor))
	if err != nil {
		return fmt.Sprintf("device %d:%d", major, minor)
	}
	return filepath.Base(link)
}
