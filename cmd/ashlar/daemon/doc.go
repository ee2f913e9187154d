// Package daemon turns the settings of a daemon into a running server: it is the only place that
// knows both the YAML (package config) and the rooms that serve (controlplane/server,
// dataplane/node, cmd/ashlar/gateway).
//
// Each Run function serves until its context ends and returns nil then; an error before that means
// that it could not serve. ErrRefused marks what starting again cannot mend: a data directory of
// another cluster or of a newer version.
package daemon
