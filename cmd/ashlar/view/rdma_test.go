package view

import (
	"net/netip"

	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
)

func rdmaDoctor() RDMA {
	return RDMA{Built: true, Memlock: "8388608", Devices: FromRDMADevices([]verbs.Device{
		{Name: "mlx5_0", Transport: "RoCE v2", Caps: verbs.Caps{QPs: 1 << 17, MRs: 1 << 24,
			Windows: 1 << 24, TypeTwo: true}, Ports: []verbs.Port{{Number: 1, Active: true,
			State: "PORT_ACTIVE", LinkLayer: "Ethernet", NetDev: "eth0", MTU: 1024,
			GIDs: []verbs.GID{{Index: 1, Type: "RoCE v1", Addr: netip.MustParseAddr("10.0.0.1")},
				{Index: 3, Type: "RoCE v2", Addr: netip.MustParseAddr("10.0.0.1")}}}}},
		{Name: "old0", Transport: "InfiniBand", Ports: []verbs.Port{{Number: 1,
			State: "PORT_DOWN", LinkLayer: "InfiniBand", MTU: 2048}}}}),
		Checks: []RDMACheck{{What: "listen", Address: "10.0.0.1:7401", Device: "mlx5_0", OK: true,
			Detail: "can listen"}, {What: "to", Address: "10.0.0.2:7401", Detail: "no answer"}},
		Problems: []RDMAProblem{{Problem: "no port of old0 is active", Fix: "bring it up"}}}
}
