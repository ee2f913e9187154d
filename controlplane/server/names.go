package server

import (
	"net"
	"strconv"
	"strings"

	"github.com/ashlar-storage/ashlar/rpc/admin"
)

// checkName admits what can be a volume, an NBD export, a directory and a word in a shell. It has
// no slash, so that names can be parts of paths.
func checkName(what, name string) error {
	ok := len(name) > 0 && len(name) <= maxNameBytes && alphanumeric(name[0])
	for i := 0; ok && i < len(name); i++ {
		b := name[i]
		ok = alphanumeric(b) || b == '.' || b == '_' || b == '-'
	}
	if !ok {
		return admin.Errorf(admin.ErrInvalid, "control: %s %.40q: use 1 to %d letters, digits, "+
			"dots, dashes and underscores, a letter or digit first", what, name, maxNameBytes)
	}
	return nil
}

// checkPath admits the path of a volume or directory: names with single slashes between them.
func checkPath(what, path string) error {
	names := strings.Split(path, "/")
	if len(path) > maxPathBytes || len(names) > maxPathNames {
		return admin.Errorf(admin.ErrInvalid, "control: %s %.40q... has %d names and %d bytes, at "+
			"most %d and %d", what, path, len(names), len(path), maxPathNames, maxPathBytes)
	}
	for _, name := range names {
		if checkName(what, name) != nil {
			return admin.Errorf(admin.ErrInvalid, "control: %s %.256q: use 1 to %d letters, "+
				"digits, dots, dashes and underscores, a letter or digit first, and single "+
				"slashes between the directories and the name", what, path, maxNameBytes)
		}
	}
	return nil
}

func alphanumeric(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9'
}

// checkUUID admits what can identify a store: hexadecimal digits, with or without dashes.
func checkUUID(uuid string) error {
	ok := len(uuid) >= 8 && len(uuid) <= 64
	for i := 0; ok && i < len(uuid); i++ {
		ok = alphanumeric(uuid[i]) || uuid[i] == '-'
	}
	if !ok {
		return admin.Errorf(admin.ErrInvalid, "control: stores.uuid %.70q: want 8 to 64 letters, "+
			"digits and dashes", uuid)
	}
	return nil
}

func checkAddr(field, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	n, perr := strconv.ParseUint(port, 10, 16)
	if err != nil || perr != nil || host == "" || n == 0 || len(addr) > maxNameBytes*2 {
		return admin.Errorf(admin.ErrInvalid, "control: %s %.80q: want host:port that others can "+
			"connect to", field, addr)
	}
	return nil
}
