package runbook

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// lane, when it is "required", makes what cannot run here a failure.
const lane = "LANE"

const manual = "../../docs/operations.md"

// deadTime is how long the machine that dies is dead: longer than the page's lost_after.
const deadTime = 25 * time.Second

// story is what the events have to tell of the page, each a kind and what it is about.
var story = []string{"volume-created db", "node-offline ash3", "node-up ash3",
	"store-replaced", "replacement-begun", "replacement-done"}

// operations is a run of the manual's page.
type operations struct {
	t        *testing.T
	machines map[string]*Machine
	steps    []Step
}

// section does what the page says under a heading.
func (o *operations) section(name string) {
	o.t.Helper()
	ran := false
	for i := range o.steps {
		s := &o.steps[i]
		if s.Section != name {
			continue
		}
		ran = true
		if _, err := Run(o.t.Context(), s, o.machines); err != nil {
			o.t.Fatalf("docs/operations.md: %v", err)
		}
	}
	if !ran {
		o.t.Fatalf("docs/operations.md has no section %q with commands", name)
	}
}

// release puts what the page expects on every machine.
func (o *operations) release(binary string) {
	o.t.Helper()
	program, err := filepath.Abs(binary)
	if err != nil {
		o.t.Fatal(err)
	}
	units, err := filepath.Abs("../../deploy/systemd")
	if err != nil {
		o.t.Fatal(err)
	}
	for _, m := range o.machines {
		typed(o.t, m, fmt.Sprintf("mkdir -p ~/ashlar-release/systemd\n"+
			"cp %s ~/ashlar-release/ashlar\ncp %s/* ~/ashlar-release/systemd/\n",
			program, units))
	}
}

// writer has fio write and verify the volume again and again, until it is stopped.
type writer struct {
	m    *Machine
	stop context.CancelFunc
	done sync.WaitGroup
	runs int
	err  error
}

// fioJob writes 8 MiB at random places and reads them back; an I/O error or a block that is not
// what was written ends it with an error.
const fioJob = "fio --name=w --ioengine=nbd --uri=nbd://127.0.0.1/db --rw=randwrite --bs=4k " +
	"--size=8m --offset=%dm --iodepth=4 --rate_iops=800 --verify=crc32c --minimal\n"

func (o *operations) write() *writer {
	// A shell of its own on the machine: the page's is busy with the page.
	ctx, stop := context.WithCancel(o.t.Context())
	w := &writer{m: o.machines["client"], stop: stop}
	w.done.Go(func() {
		for ctx.Err() == nil && w.err == nil {
			job := fmt.Sprintf(fioJob, 64+w.runs%64*8)
			cmd := w.m.Command(job)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Run(); err != nil {
				w.err = fmt.Errorf("%w: %s", err, out.String())
			}
			w.runs++
		}
	})
	return w
}

// end stops the writer after its last run, and says whether all were well.
func (w *writer) end() error {
	w.stop()
	w.done.Wait()
	return w.err
}

// ask gives what a command prints on the client.
func (o *operations) ask(script string) string {
	o.t.Helper()
	out, err := o.machines["client"].Type(o.t.Context(), script)
	if err != nil {
		o.t.Fatalf("%s: %v: %s", script, err, out)
	}
	return out
}

// active is the machine whose control plane is active.
func (o *operations) active() *Machine {
	o.t.Helper()
	var doc struct {
		Processes []struct{ Role, ID string }
	}
	if err := json.Unmarshal([]byte(o.ask("ashlar cluster status -o json")), &doc); err != nil {
		o.t.Fatal(err)
	}
	for _, p := range doc.Processes {
		if p.Role == "control" {
			return o.machines[strings.TrimPrefix(p.ID, "control-")]
		}
	}
	o.t.Fatal("no control plane is active")
	return nil
}

// told wants the events to tell the story, in any order.
func (o *operations) told() {
	o.t.Helper()
	out := o.ask("ashlar events --since 1h")
	for _, part := range story {
		found := false
		for line := range strings.SplitSeq(out, "\n") {
			all := true
			for word := range strings.FieldsSeq(part) {
				all = all && strings.Contains(line, word)
			}
			found = found || all
		}
		if !found {
			o.t.Errorf("the events do not tell of %q:\n%s", part, out)
		}
	}
	o.t.Logf("the events:\n%s", out)
}

// The page of the manual is done word for word, on three machines and a client, and what it says of
// deaths is made to happen: the active control plane, a zone, a disk.
func TestPageOfOperationsIsTrue(t *testing.T) {
	binary := os.Getenv("ASHLAR")
	if binary == "" {
		binary = "../../bin/ashlar"
	}
	if os.Getenv(lane) != "required" {
		t.Skip("takes minutes: runs in `make operations`")
	}
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	o := &operations{t: t, machines: lab(t, "ash1", "ash2", "ash3", "client")}
	if o.steps, err = Parse(string(text)); err != nil {
		t.Fatal(err)
	}
	o.release(binary)
	for _, section := range []string{"Programs", "etcd", "Control planes", "Nodes", "A volume"} {
		o.section("Day one / " + section)
	}
	o.section("The days after / Looking")
	w := o.write()
	o.section("The days after / Restarting, machine by machine")

	was := o.active()
	typed(t, was, "systemctl kill -s KILL ashlar-control")
	began := time.Now()
	o.section("The days after / A control plane dies")
	t.Logf("the control plane of %s was killed: asked and answered after %v", was.Name,
		time.Since(began).Round(time.Millisecond))

	o.dies(o.machines["ash3"])
	o.emptyDisk("ash1", "disk1")
	o.section("The days after / A disk dies")
	o.section("The days after / What happened")
	o.told()
	if err := w.end(); err != nil {
		t.Errorf("the client: %v", err)
	}
	t.Logf("the client wrote and verified 8 MiB %d times", w.runs)
}

// dies switches a machine off, does what the page says of that, and before the page wants something
// of it switches it on again: longer after than a lost store is waited for.
func (o *operations) dies(m *Machine) {
	o.t.Helper()
	if err := m.PowerOff(); err != nil {
		o.t.Fatal(err)
	}
	for i := range o.steps {
		s := &o.steps[i]
		if s.Section != "The days after / A machine dies" {
			continue
		}
		if slices.Contains(s.On, m.Name) && m.off.Load() {
			time.Sleep(deadTime)
			if err := m.PowerOn(); err != nil {
				o.t.Fatal(err)
			}
		}
		if _, err := Run(o.t.Context(), s, o.machines); err != nil {
			o.t.Fatalf("docs/operations.md: %v", err)
		}
	}
}

// emptyDisk puts an empty disk in the place of one, as the page says, while the node is stopped.
func (o *operations) emptyDisk(machine, disk string) {
	o.t.Helper()
	typed(o.t, o.machines[machine], "systemctl stop ashlar-node\n"+
		"find /var/lib/ashlar/"+disk+" -mindepth 1 -delete")
}
