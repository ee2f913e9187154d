// Command control-load measures a control plane under the heartbeats of a large simulated cluster:
// package controlplane/load says what it measures and how.
package main
