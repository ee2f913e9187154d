package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
	"github.com/ashlar-storage/ashlar/rpc/rdma/ibv"
	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
)

// doctorTime is how long an address is tried.
const doctorTime = 5 * time.Second

// smallMTU is the packet size in bytes below which the doctor says that the interface could do
// more.
const smallMTU = 4096

func (a *app) rdmaCommand() *cobra.Command {
	var listen, to string
	cmd := &cobra.Command{Use: "doctor", Short: "Cards, addresses, limits: what RDMA lacks here",
		Args: exactArgs(), RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := ibv.New(ibv.Options{GIDIndex: ibv.AnyGID})
			d := newDoctor(p, err)
			d.look(cmd.Context(), listen, to)
			if err := a.print(d.RDMA); err != nil {
				return err
			}
			if n := len(d.Problems); n > 0 {
				return fmt.Errorf("rdma doctor: %d problems, see above", n)
			}
			return nil
		}}
	cmd.Flags().StringVar(&listen, "listen", "", "address (host:port) that a node is to listen on")
	cmd.Flags().StringVar(&to, "to", "", "address (host:port) that a card is to reach")
	a.outputFlag(cmd)
	return noun("rdma", "RDMA on this machine", cmd)
}

// doctor gathers what is there and what is wrong.
type doctor struct {
	view.RDMA
	provider verbs.Provider
	devices  []verbs.Device
}

// newDoctor takes what looking for cards gave.
func newDoctor(p verbs.Provider, err error) *doctor {
	d := &doctor{provider: p}
	d.Built, d.Memlock = !errors.Is(err, verbs.ErrUnsupported), memlock()
	d.Devices, d.Checks = []view.RDMADevice{}, []view.RDMACheck{}
	d.Problems = []view.RDMAProblem{}
	switch {
	case !d.Built:
		d.wrong("this program was built without RDMA, and uses TCP only", "use the program that "+
			"`make build-rdma` makes: bin/ashlar-rdma, static, with the same commands")
	case err != nil:
		d.wrong(err.Error(), "see docs/rdma.md, Set-up")
	}
	return d
}

func (d *doctor) wrong(problem, fix string) {
	d.Problems = append(d.Problems, view.RDMAProblem{Problem: problem, Fix: fix})
}

// look examines cards, limits and the addresses asked for.
func (d *doctor) look(ctx context.Context, listen, to string) {
	if d.provider == nil {
		return
	}
	var err error
	if d.devices, err = d.provider.Devices(); err != nil {
		d.wrong(err.Error(), "see the kernel's messages (dmesg) about the card")
		return
	}
	d.Devices = view.FromRDMADevices(d.devices)
	for i := range d.devices {
		d.card(&d.devices[i])
	}
	if d.Memlock != unlimited && os.Geteuid() != 0 {
		d.wrong("this user may lock "+d.Memlock+" bytes of memory, and a node locks all of its "+
			"`memory`", "LimitMEMLOCK=infinity in the unit of systemd, or `ulimit -l unlimited`")
	}
	if listen != "" {
		d.listen(listen)
	}
	if to != "" {
		d.reach(ctx, to)
	}
}

// card finds what is wrong with one card.
func (d *doctor) card(c *verbs.Device) {
	if !c.Caps.TypeTwo {
		d.wrong(c.Name+" has no memory windows of type 2B, which open memory for one request",
			"another card or firmware; until then `transport: tcp`")
	}
	active := false
	for _, p := range c.Ports {
		active = active || p.Active
		if p.Active && p.LinkLayer == "Ethernet" && p.MTU < smallMTU {
			d.wrong(fmt.Sprintf("%s port %d carries %d bytes in a packet, 4096 are possible",
				c.Name, p.Number, p.MTU), fmt.Sprintf("ip link set %s mtu 9000, on every machine "+
				"and the switches between them; works without, slower", orInterface(p.NetDev)))
		}
		if p.Active && len(p.GIDs) == 0 {
			d.wrong(fmt.Sprintf("%s port %d has no address", c.Name, p.Number),
				fmt.Sprintf("ip addr add ADDRESS/LENGTH dev %s", orInterface(p.NetDev)))
		}
	}
	if !active {
		d.wrong("no port of "+c.Name+" is active", "bring its interface up (ip link set IF up); "+
			"on InfiniBand a subnet manager (opensm) must run; see cable and switch")
	}
}

func orInterface(name string) string {
	if name == "" {
		return "its interface"
	}
	return name
}

// listen says whether a node could take connections at an address.
func (d *doctor) listen(text string) {
	addr, err := d.resolve(text)
	if err == nil {
		device := d.owner(addr.Addr())
		if device == "" {
			err = fmt.Errorf("%w: no card of this machine has %v", verbs.ErrNoDevice, addr.Addr())
		} else {
			err = d.tryListen(device, addr, text)
		}
	}
	if err != nil {
		d.checked("listen", text, "", err.Error(), false)
		d.wrong("--listen "+text+": "+err.Error(), "listen on an address that a card has (ADDRESS "+
			"above)")
	}
}

func (d *doctor) tryListen(device string, addr netip.AddrPort, text string) error {
	c, err := d.provider.Open(device)
	if err != nil {
		return err
	}
	defer c.Close()
	l, err := c.Listen(addr, 1)
	if errors.Is(err, unix.EADDRINUSE) {
		d.checked("listen", text, device, "in use: a node listens there", true)
		return nil
	}
	if err != nil {
		return err
	}
	d.checked("listen", text, device, "can listen", true)
	return l.Close()
}

// reach says whether a card of this machine has a way to an address.
func (d *doctor) reach(ctx context.Context, text string) {
	addr, err := d.resolve(text)
	for i := range d.devices {
		if err != nil {
			break
		}
		device := d.devices[i].Name
		detail, wrong := d.tryDial(ctx, device, addr)
		if wrong == nil {
			d.checked("to", text, device, detail, true)
			return
		}
		if i == len(d.devices)-1 {
			err = wrong
		}
	}
	if err == nil {
		err = verbs.ErrNoDevice
	}
	d.checked("to", text, "", err.Error(), false)
	d.wrong("--to "+text+": "+err.Error(), "see that this machine reaches it by the interface of "+
		"a card (ip route get), that it has a card, and that nothing filters UDP port 4791 "+
		"(RoCE v2)")
}

// tryDial connects and says what that shows: a refusal came from the other card.
func (d *doctor) tryDial(ctx context.Context, device string, addr netip.AddrPort) (string, error) {
	c, err := d.provider.Open(device)
	if err != nil {
		return "", err
	}
	defer c.Close()
	cq, err := c.NewCQ(8)
	if err != nil {
		return "", err
	}
	defer cq.Close()
	ctx, cancel := context.WithTimeout(ctx, doctorTime)
	defer cancel()
	qp, private, err := c.Dial(ctx, addr, verbs.QPConfig{CQ: cq, Sends: 1, Recvs: 1, SGEs: 1}, nil)
	switch {
	case err == nil:
		return "connected", qp.Close()
	case errors.Is(err, verbs.ErrRefused) && len(private) > 0 && private[0] != 0:
		return "reachable, and a node listens there", nil
	case errors.Is(err, verbs.ErrRefused):
		return "reachable, and nobody listens on this port", nil
	}
	return "", err
}

func (d *doctor) checked(what, address, device, detail string, ok bool) {
	d.Checks = append(d.Checks, view.RDMACheck{What: what, Address: address, Device: device,
		Detail: detail, OK: ok})
}

// owner is the card that has an address.
func (d *doctor) owner(addr netip.Addr) string {
	for _, c := range d.devices {
		for _, p := range c.Ports {
			for _, g := range p.GIDs {
				if g.Addr.Unmap() == addr.Unmap() {
					return c.Name
				}
			}
		}
	}
	return ""
}

func (d *doctor) resolve(text string) (netip.AddrPort, error) {
	a, err := net.ResolveTCPAddr("tcp", text)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("rdma doctor: want host:port: %w", err)
	}
	return netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), a.AddrPort().Port()), nil
}

const unlimited = "unlimited"

// memlock is the limit of locked memory, as text.
func memlock() string {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &l); err != nil {
		return "unknown"
	}
	if l.Cur == unix.RLIM_INFINITY {
		return unlimited
	}
	return strconv.FormatUint(l.Cur, 10)
}
