package cli

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/ashlar-storage/ashlar/rpc/rdma/fake"
	"github.com/ashlar-storage/ashlar/rpc/rdma/ibv"
	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
)

func TestDoctorWithoutRDMASaysHowToGetIt(t *testing.T) {
	if ibv.Built {
		t.Skip("this program has it")
	}
	var out, wrong bytes.Buffer
	if status := Main("v1", []string{"rdma", "doctor", "-o", "json"}, &out, &wrong); status != 1 {
		t.Errorf("status %d", status)
	}
	for _, want := range []string{`"built": false`, "make build-rdma"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %s", want, &out)
		}
	}
}

func TestDoctorNamesEachThingThatIsWrong(t *testing.T) {
	n := fake.New(1)
	defer n.Close()
	here, there := netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2")
	poor := fake.DefaultCaps
	poor.TypeTwo = false
	good := n.Host(fake.Card{Name: "fake0", Addr: here})
	bad := n.Host(fake.Card{Name: "fake1", Addr: there, Caps: poor})
	for _, c := range []struct {
		name, listen, to string
		host             *fake.Host
		problem, check   string
	}{
		{name: "address of a card", host: good, listen: "10.9.0.1:7401", check: "can listen"},
		{name: "address without a card", host: good, listen: "192.0.2.1:7401",
			problem: "no card of this machine has 192.0.2.1"},
		{name: "peer with a card", host: good, to: "10.9.0.2:7401", check: "nobody listens"},
		{name: "neither a peer", host: good, to: "there", problem: "--to there"},
		{name: "not an address", host: good, listen: "here", problem: "want host:port"},
		{name: "old card", host: bad, problem: "no memory windows of type 2B"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDoctor(c.host, nil)
			d.Memlock = unlimited
			d.look(context.Background(), c.listen, c.to)
			said := fmt.Sprint(d.Problems)
			if c.problem == "" && len(d.Problems) > 0 || !strings.Contains(said, c.problem) {
				t.Errorf("problems %s, want %q", said, c.problem)
			}
			if !strings.Contains(fmt.Sprint(d.Checks), c.check) {
				t.Errorf("checks %+v, want %q", d.Checks, c.check)
			}
		})
	}
}

func TestDoctorPassesOnWhyThereIsNoCard(t *testing.T) {
	d := newDoctor(nil, fmt.Errorf("%w: modprobe it", verbs.ErrNoDevice))
	d.look(context.Background(), "", "")
	if !d.Built || len(d.Problems) != 1 || !strings.Contains(d.Problems[0].Problem, "modprobe") {
		t.Errorf("%+v", d.RDMA)
	}
}
