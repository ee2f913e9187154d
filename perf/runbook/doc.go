// Package runbook does what a page of the manual says: it reads the commands of docs/operations.md
// and types them into machines of its own making, so that the page is true word for word.
//
// # Pages
//
// A fenced block is run when the line before it is a comment that says where:
//
//	<!-- on ash1, ash2 -->         the block's lines are typed into these machines' shells
//	<!-- on ash1, within 30s -->   again and again, until they succeed and show what follows
//	<!-- shows -->                 the block below is what the commands before it print
//
// Commands succeed, each of them. What is shown must be in their output, line by line and in order;
// runs of spaces are as good as one, and an ellipsis (...) stands for anything. All other blocks
// are for readers only.
//
// # Machines
//
// A Machine has a network of its own on a bridge with the others, its own processes, name and file
// system: an overlay over this one, so that nothing it writes is seen outside, and a directory of
// this one for each of its disks. PowerOff ends all its processes at once; what it wrote stays.
// Its systemctl is this program (Systemctl): it knows the units of /etc/systemd/system and
// /lib/systemd/system, and of them what the page uses: starting and its order, readiness, restarts,
// stopping, signals. It does not apply their sandboxing.
//
// # How it fails
//
// Machines need root, overlayfs, and a network namespace of their own for the whole run
// (netlab.Run). A block that does not do what the page says is an error with the page's line, the
// machine, the commands and what they printed.
package runbook
