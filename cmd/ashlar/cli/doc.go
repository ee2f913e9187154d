// Package cli is the command tree of ashlar: what is typed, checked and printed.
//
// Main returns the exit status of the process: 0 done, 1 failed, 2 usage or settings, 3 not found,
// 4 already exists, 5 no space, 6 cluster unavailable, 7 data directory refused. What was asked
// for goes to standard output, everything else to standard error; an error is one line that says
// what happened and, where there is one, the fix.
//
//	os.Exit(cli.Main(version, os.Args[1:], os.Stdout, os.Stderr))
package cli
