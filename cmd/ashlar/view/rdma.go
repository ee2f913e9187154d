package view

import (
	"fmt"

	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
)

// RDMA is what this machine and this program have for RDMA, and what is wrong with it.
type RDMA struct {
	Built    bool          `json:"built"`
	Memlock  string        `json:"memlock"` // bytes, or "unlimited"
	Devices  []RDMADevice  `json:"devices"`
	Checks   []RDMACheck   `json:"checks"`
	Problems []RDMAProblem `json:"problems"`
}

// RDMADevice is a card.
type RDMADevice struct {
	Name       string     `json:"name"`
	Transport  string     `json:"transport"`
	QueuePairs int        `json:"queue_pairs"`
	Regions    int        `json:"regions"`
	Windows    int        `json:"windows"`
	TypeTwo    bool       `json:"type_two"`
	Ports      []RDMAPort `json:"ports"`
}

// RDMAPort is a port of a card.
type RDMAPort struct {
	Number    int       `json:"number"`
	State     string    `json:"state"`
	LinkLayer string    `json:"link_layer"`
	Interface string    `json:"interface"`
	MTU       int       `json:"mtu_bytes"`
	GIDs      []RDMAGID `json:"gids"`
}

// RDMAGID is an address of a port.
type RDMAGID struct {
	Index   int    `json:"index"`
	Type    string `json:"type"`
	Address string `json:"address"`
}

// RDMACheck is what became of an address that was asked about.
type RDMACheck struct {
	What    string `json:"what"` // listen, to
	Address string `json:"address"`
	Device  string `json:"device"`
	OK      bool   `json:"ok"`
	Detail  string `json:"detail"`
}

// RDMAProblem is what is wrong, and what to do.
type RDMAProblem struct {
	Problem string `json:"problem"`
	Fix     string `json:"fix"`
}

// FromRDMADevices converts what a provider lists.
func FromRDMADevices(in []verbs.Device) []RDMADevice {
	return convert(in, func(d verbs.Device) RDMADevice {
		return RDMADevice{Name: d.Name, Transport: d.Transport, QueuePairs: d.Caps.QPs,
			Regions: d.Caps.MRs, Windows: d.Caps.Windows, TypeTwo: d.Caps.TypeTwo,
			Ports: convert(d.Ports, func(p verbs.Port) RDMAPort {
				return RDMAPort{Number: p.Number, State: p.State, LinkLayer: p.LinkLayer,
					Interface: p.NetDev, MTU: p.MTU,
					GIDs: convert(p.GIDs, func(g verbs.GID) RDMAGID {
						return RDMAGID{Index: g.Index, Type: g.Type, Address: g.Addr.String()}
					})}
			})}
	})
}

// Tables implements Tabler.
func (r RDMA) Tables() []Table {
	built := "yes"
	if !r.Built {
		built = "no"
	}
	tables := []Table{{Rows: [][]string{{"built with RDMA", built},
		{"locked memory", r.memlock()}}}}
	if devices := r.deviceTable(); len(devices.Rows) > 0 {
		tables = append(tables, devices)
	}
	if len(r.Checks) > 0 {
		checks := Table{Heading: []string{"CHECK", "ADDRESS", "DEVICE", "RESULT"}}
		for _, c := range r.Checks {
			checks.Rows = append(checks.Rows, []string{c.What, c.Address, orDash(c.Device),
				c.Detail})
		}
		tables = append(tables, checks)
	}
	for _, p := range r.Problems {
		tables = append(tables, Table{Rows: [][]string{{"problem", p.Problem}, {"do", p.Fix}}})
	}
	if len(r.Problems) == 0 {
		tables = append(tables, Table{Rows: [][]string{{"nothing is wrong"}}})
	}
	return tables
}

// deviceTable has a row for each address.
func (r RDMA) deviceTable() Table {
	devices := Table{Heading: []string{"DEVICE", "TRANSPORT", "PORT", "STATE", "LINK", "INTERFACE",
		"MTU", "GID", "TYPE", "ADDRESS", "WINDOWS 2B"}}
	for _, d := range r.Devices {
		windows := "no"
		if d.TypeTwo {
			windows = fmt.Sprint(d.Windows)
		}
		for _, p := range d.Ports {
			row := []string{d.Name, d.Transport, fmt.Sprint(p.Number), p.State, p.LinkLayer,
				p.Interface, fmt.Sprint(p.MTU)}
			if len(p.GIDs) == 0 {
				devices.Rows = append(devices.Rows, append(row, "-", "-", "-", windows))
			}
			for _, g := range p.GIDs {
				devices.Rows = append(devices.Rows, append(row[:len(row):len(row)],
					fmt.Sprint(g.Index), g.Type, g.Address, windows))
			}
		}
	}
	return devices
}

func (r RDMA) memlock() string {
	var n uint64
	if _, err := fmt.Sscan(r.Memlock, &n); err == nil {
		return bytesText(n)
	}
	return r.Memlock
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
