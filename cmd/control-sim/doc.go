// Command control-sim runs the control plane's schedulers on a large simulated cluster: package
// controlplane/schedule/sim says what it simulates.
package main
