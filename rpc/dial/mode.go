package dial

import (
	"bytes"
	"errors"
	"fmt"
	"os"
)

// Mode is which transports are used.
type Mode string

// The modes.
const (
	Auto Mode = "auto" // RDMA where it is to be had, else TCP
	RDMA Mode = "rdma" // RDMA alone; nodes serve TCP as well
	TCP  Mode = "tcp"
	Unix Mode = "unix" // local sockets, for clients on the machine of all nodes
)

// ErrMode marks a mode that there is not.
var ErrMode = errors.New("dial: unknown transport")

// ErrKeyFile marks a file without a usable key.
var ErrKeyFile = errors.New("dial: key file")

// ParseMode reads a mode; the empty string is Auto.
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case "":
		return Auto, nil
	case Auto, RDMA, TCP, Unix:
		return m, nil
	}
	return "", fmt.Errorf("%w %.20q: use auto, rdma, tcp or unix", ErrMode, s)
}

// ReadKey reads a pre-shared key: the bytes of the file, without white space at its end. No name
// gives no key.
func ReadKey(name string) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	st, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%w %s: others than its owner may use it (mode %#o): chmod 600",
			ErrKeyFile, name, st.Mode().Perm())
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	key := bytes.TrimRight(text, " \t\r\n")
	if len(key) < keyMin || len(key) > keyMax {
		return nil, fmt.Errorf("%w %s: %d bytes: use %d to %d random ones, such as of `openssl "+
			"rand -base64 48`", ErrKeyFile, name, len(key), keyMin, keyMax)
	}
	return key, nil
}

// socketOf is the local socket of the node that listens at a TCP address. It has no file: it lives
// and dies with the node, in the network namespace in which the TCP address is.
func socketOf(addr string) string { return "unix:@ashlar/" + addr }
