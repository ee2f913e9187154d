package node

import (
	"reflect"
	"slices"
	"strings"

	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// listen serves the native protocol: over TCP, and over whatever else there is at the same address.
// The node is the handler of all. TCP comes last, so that who prefers another transport and dials
// as soon as there is one finds it; a port that is to be picked is picked for TCP.
func (n *Node) listen(hello wire.Hello) error {
	cfg := transport.ServerConfig{Pool: n.pool, Hello: hello, Meter: &n.meter, Logger: n.log,
		ZeroCopy: n.cfg.ZeroCopy}
	steps := []func(transport.ServerConfig) error{n.listenFurther, n.listenTCP}
	if strings.HasSuffix(n.addr, ":0") {
		slices.Reverse(steps)
	}
	for _, step := range steps {
		if err := step(cfg); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) listenTCP(cfg transport.ServerConfig) error {
	s, err := transport.Listen(n.addr, n, cfg)
	if err != nil {
		return err
	}
	n.servers, n.addr = append(n.servers, s), s.Addr()
	return nil
}

func (n *Node) listenFurther(cfg transport.ServerConfig) error {
	for _, listen := range n.cfg.Further {
		s, err := listen(n.addr, n, cfg)
		if err != nil {
			return err
		}
		if s != nil {
			n.servers = append(n.servers, s)
		}
	}
	return nil
}

// serverStats are those of all transports together.
func (n *Node) serverStats() (sum transport.Stats) {
	to := reflect.ValueOf(&sum).Elem()
	for _, s := range n.servers {
		from := reflect.ValueOf(s.Stats())
		for i := range from.NumField() {
			to.Field(i).SetInt(to.Field(i).Int() + from.Field(i).Int())
		}
	}
	return sum
}

// traffic is what a meter has, by transport.
func traffic(m *transport.Meter) map[string]any {
	out := map[string]any{}
	for _, t := range m.Read() {
		v := numbers(reflect.ValueOf(t))
		delete(v, "transport")
		out[t.Transport] = v
	}
	return out
}
