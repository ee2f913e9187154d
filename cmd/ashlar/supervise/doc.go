// Package supervise runs the processes of a whole cluster on one machine: it starts them in order,
// announces when all are serving, starts again what dies, and stops everything in order.
//
// Machine decides and does nothing else: Step takes one event and appends effects; it has no
// process, clock or channel in it. Run is the shell around it: it spawns, signals, probes and
// reaps. Order of starting: control plane, nodes, the volume, gateways. Order of stopping: the
// reverse, each stage bounded by StopWait and then killed.
//
// A child that dies before the cluster was ready is started again a few times and then ends the
// start with the reason; one that dies later is started again after a delay that doubles with each
// early death, or left down where NoRestart is set until Revive asks for it. A child that says its
// data cannot be used (ExitRefused) is never started again by itself.
//
//	m := supervise.NewMachine(cfg, children)
//	effects := m.Step(supervise.Event{Kind: supervise.Begin}, nil)
package supervise
