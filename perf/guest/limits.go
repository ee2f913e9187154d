package guest

import "time"

const (
	// kernelLines is how much of the kernel's messages is shown for a failure.
	kernelLines = 40
	// powerOffTime is how long a machine that is over may take to end.
	powerOffTime = 20 * time.Second
	// cardTime is how long the card may take to have its port active.
	cardTime = 10 * time.Second
	// packetMax is the longest packet of a cable: qemu's own bound.
	packetMax = 4096 + 65536
	// lineBytes is the longest line of a run.
	lineBytes = 1 << 20
)
