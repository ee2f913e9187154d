//go:build rdma && cgo && linux

package ibv

// #include "card.h"
import "C"

import (
	"net"
	"net/netip"
	"slices"
	"unsafe"

	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
)

// softVendor is how soft RoCE names its maker.
const softVendor = 0xffffff

// describe asks a card what it is.
func describe(c *C.struct_ibv_context) (verbs.Device, error) {
	var a C.struct_ibv_device_attr
	if err := failed(C.ibv_query_device(c, &a), "query %s", nameOf(c)); err != nil {
		return verbs.Device{}, err
	}
	d := verbs.Device{Name: nameOf(c), Caps: verbs.Caps{
		QPs: int(a.max_qp), CQs: int(a.max_cq), MRs: int(a.max_mr), SRQs: int(a.max_srq),
		Windows: int(a.max_mw), Depth: int(a.max_qp_wr), CQDepth: int(a.max_cqe),
		SGEs: int(a.max_sge), Reads: int(a.max_qp_rd_atom),
		TypeTwo: uint64(a.device_cap_flags)&C.IBV_DEVICE_MEM_WINDOW_TYPE_2B != 0}}
	for n := 1; n <= int(a.phys_port_cnt); n++ {
		p, err := describePort(c, n)
		if err != nil {
			return verbs.Device{}, err
		}
		d.Ports = append(d.Ports, p)
	}
	describeGIDs(c, d.Ports)
	d.Transport = transportOf(c, d.Ports)
	return d, nil
}

func describePort(c *C.struct_ibv_context, n int) (verbs.Port, error) {
	var a C.struct_ibv_port_attr
	if err := failed(C.card_port(c, C.uint8_t(n), &a), "query port %d of %s", n,
		nameOf(c)); err != nil {
		return verbs.Port{}, err
	}
	p := verbs.Port{Number: n, Active: a.state == C.IBV_PORT_ACTIVE,
		State: C.GoString(C.ibv_port_state_str(a.state)), MTU: 128 << a.active_mtu,
		LinkLayer: "InfiniBand"}
	if a.link_layer == C.IBV_LINK_LAYER_ETHERNET {
		p.LinkLayer = "Ethernet"
	}
	return p, nil
}

// describeGIDs fills in the addresses of the ports and the interface that the first one is of.
func describeGIDs(c *C.struct_ibv_context, ports []verbs.Port) {
	const most = 1024
	list := make([]C.struct_ibv_gid_entry, most)
	n := C._ibv_query_gid_table(c, &list[0], most, 0, C.sizeof_struct_ibv_gid_entry)
	for i := range int(max(n, 0)) {
		e := &list[i]
		if int(e.port_num) < 1 || int(e.port_num) > len(ports) {
			continue
		}
		p := &ports[e.port_num-1]
		raw := *(*[16]byte)(unsafe.Pointer(&e.gid))
		p.GIDs = append(p.GIDs, verbs.GID{Index: int(e.gid_index), Type: gidType(e.gid_type),
			Addr: netip.AddrFrom16(raw).Unmap()})
		if dev, err := net.InterfaceByIndex(int(e.ndev_ifindex)); err == nil && p.NetDev == "" {
			p.NetDev = dev.Name
		}
	}
}

func gidType(t C.uint32_t) string {
	switch t {
	case C.IBV_GID_TYPE_ROCE_V1:
		return "RoCE v1"
	case C.IBV_GID_TYPE_ROCE_V2:
		return "RoCE v2"
	}
	return "IB"
}

func transportOf(c *C.struct_ibv_context, ports []verbs.Port) string {
	if c.device.transport_type == C.IBV_TRANSPORT_IWARP {
		return "iWARP"
	}
	name := "InfiniBand"
	for _, p := range ports {
		if p.LinkLayer != "Ethernet" {
			continue
		}
		name = "RoCE v1"
		for _, g := range p.GIDs {
			if g.Type == "RoCE v2" {
				return g.Type
			}
		}
	}
	return name
}

// soft says whether a card is the kernel's soft RoCE.
func soft(c *C.struct_ibv_context) bool {
	var a C.struct_ibv_device_attr
	return C.ibv_query_device(c, &a) == 0 && a.vendor_id == softVendor
}

// anySoft says whether a card of the machine is soft RoCE.
func (p *provider) anySoft() bool { return slices.ContainsFunc(p.cards, soft) }
