package guest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mtu of the interface: with headers and all it leaves the card packets of 4096 bytes.
const mtu = 9000

// network brings the interfaces up and makes the soft RDMA card. The MTU comes first: a card takes
// that of its interface when it is made.
func network(job Job) error {
	if err := up("lo", netip.MustParsePrefix("127.0.0.1/8"), 0); err != nil {
		return err
	}
	if job.Interface == "" {
		return nil
	}
	prefix, err := netip.ParsePrefix(job.Address)
	if err != nil {
		return err
	}
	if err := up(job.Interface, prefix, mtu); err != nil {
		return err
	}
	if err := softCard("rxe0", job.Interface); err != nil {
		return err
	}
	const state = "/sys/class/infiniband/rxe0/ports/1/state"
	for end := time.Now().Add(cardTime); ; time.Sleep(10 * time.Millisecond) {
		text, err := os.ReadFile(state)
		if err == nil && strings.Contains(string(text), "ACTIVE") {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("the card is not active after %v: %s %w", cardTime, text, err)
		}
	}
}

// up gives an interface its address and turns it on.
func up(name string, prefix netip.Prefix, mtu uint32) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request := func(code uint, set func(*unix.Ifreq) error) {
		if err != nil {
			return
		}
		var r *unix.Ifreq
		if r, err = unix.NewIfreq(name); err != nil {
			return
		}
		if err = set(r); err == nil {
			err = ioctl(fd, code, r)
		}
		if err != nil {
			err = fmt.Errorf("interface %s, request %#x: %w", name, code, err)
		}
	}
	ip := prefix.Addr().As4()
	var mask [4]byte
	binary.BigEndian.PutUint32(mask[:], ^uint32(0)<<(32-prefix.Bits()))
	if mtu != 0 {
		request(unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(mtu); return nil })
	}
	request(unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(ip[:]) })
	request(unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr(mask[:]) })
	request(unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error {
		r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		return nil
	})
	return err
}

func ioctl(fd int, code uint, r *unix.Ifreq) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(code),
		uintptr(unsafe.Pointer(r))); errno != 0 {
		return errno
	}
	return nil
}

// Of the kernel's include/uapi/rdma/rdma_netlink.h.
const (
	rdmaNewLink  = 5<<10 | 3 // client NLDEV, command NEWLINK
	rdmaDevName  = 2
	rdmaNetDev   = 51
	rdmaLinkType = 65
)

// softCard makes a soft RoCE card on an interface: what "rdma link add" does.
func softCard(name, netdev string) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_RDMA)
	if err != nil {
		return fmt.Errorf("netlink of RDMA: %w", err)
	}
	defer unix.Close(fd)
	var body bytes.Buffer
	for _, a := range []struct {
		kind uint16
		text string
	}{{rdmaDevName, name}, {rdmaLinkType, "rxe"}, {rdmaNetDev, netdev}} {
		text := append([]byte(a.text), 0)
		_ = binary.Write(&body, binary.NativeEndian, []uint16{uint16(4 + len(text)), a.kind})
		body.Write(append(text, make([]byte, (4-len(text)%4)%4)...))
	}
	var message bytes.Buffer
	_ = binary.Write(&message, binary.NativeEndian, unix.NlMsghdr{
		Len: uint32(unix.SizeofNlMsghdr + body.Len()), Type: rdmaNewLink,
		Flags: unix.NLM_F_REQUEST | unix.NLM_F_ACK, Seq: 1})
	message.Write(body.Bytes())
	if err := unix.Sendto(fd, message.Bytes(), 0, &unix.SockaddrNetlink{
		Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("rdma link add: %w", err)
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil || n < unix.SizeofNlMsghdr+4 {
		return fmt.Errorf("rdma link add: %d bytes of answer: %w", n, err)
	}
	if code := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 {
		return fmt.Errorf("rdma link add %s on %s: %w", name, netdev, unix.Errno(-code))
	}
	return nil
}
