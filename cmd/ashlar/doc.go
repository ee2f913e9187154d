// Command ashlar is the whole of Ashlar in one binary: the data-plane node, the control plane, the
// NBD gateway, a cluster of all of them under one supervisor, and the verbs that look at it.
//
//	ashlar up --data DIR --volume vol --size 4GiB
//	ashlar cluster status --data DIR
//
// The main function is the only code here; the command tree is package cli, the daemons' settings
// are package config, and each of the other folders is one idea: supervise (processes), datadir
// (the directory of `ashlar up`), gateway (client volumes as NBD exports), daemon (settings to
// servers), view (what is printed).
package main
