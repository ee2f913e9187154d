package node

import (
	"github.com/ashlar-storage/ashlar/rpc/ops"
	"github.com/ashlar-storage/ashlar/rpc/transport"
)

// The sides of a node's connections, as metrics have them.
const (
	sideServed = "served" // made by clients and other nodes
	sidePeers  = "peers"  // made by this node to others
)

// eachTraffic looks at each transport of each side.
func (n *Node) eachTraffic(each func(*transport.Traffic, ...string)) {
	for side, m := range map[string]*transport.Meter{sideServed: &n.meter, sidePeers: &n.outward} {
		for _, t := range m.Read() {
			each(&t, t.Transport, side)
		}
	}
}

func trafficSource() *ops.Source[transport.Traffic] {
	type s = transport.Traffic
	metric := func(name, help, unit string, kind ops.Kind, f func(*s) int64) ops.Metric[s] {
		return ops.Metric[s]{Name: "ashlar_transport_" + name, Help: help, Unit: unit, Kind: kind,
			Value: func(t *s) float64 { return float64(f(t)) }}
	}
	return &ops.Source[s]{Labels: []string{"transport", "side"}, Metrics: []ops.Metric[s]{
		metric("connections", "Connections that are open.", "", ops.Gauge,
			func(t *s) int64 { return t.Open }),
		metric("connections_total", "Connections made.", "", ops.Counter,
			func(t *s) int64 { return t.Made }),
		metric("fallbacks_total", "Connections made because a better transport was not to be had.",
			"", ops.Counter, func(t *s) int64 { return t.Fallbacks }),
		metric("broken_total", "Connections that the card gave up.", "", ops.Counter,
			func(t *s) int64 { return t.Broken }),
		metric("payloads_received_total", "Frames with payload received.", "", ops.Counter,
			func(t *s) int64 { return t.Received.Payloads }),
		metric("payloads_sent_total", "Frames with payload sent.", "", ops.Counter,
			func(t *s) int64 { return t.Sent.Payloads }),
		metric("received_bytes_total", "Payload received.", "bytes", ops.Counter,
			func(t *s) int64 { return t.Received.Bytes }),
		metric("sent_bytes_total", "Payload sent.", "bytes", ops.Counter,
			func(t *s) int64 { return t.Sent.Bytes }),
		metric("received_copied_bytes_total", "Payload copied by this process while receiving.",
			"bytes", ops.Counter, func(t *s) int64 { return t.Received.Copied }),
		metric("sent_copied_bytes_total", "Payload copied by this process while sending.",
			"bytes", ops.Counter, func(t *s) int64 { return t.Sent.Copied }),
		metric("zerocopy_sends_total", "Zero-copy sends.", "", ops.Counter,
			func(t *s) int64 { return t.ZeroCopy }),
		metric("zerocopy_copied_total", "Zero-copy sends that the kernel copied.", "", ops.Counter,
			func(t *s) int64 { return t.KernelCopied }),
	}}
}
