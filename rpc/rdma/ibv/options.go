package ibv

// AnyGID is the GIDIndex of who does not care.
const AnyGID = -1

// Options narrow which card and which of its addresses are used. The zero value of a field but
// GIDIndex means any. What does not agree with them is an error that says so: rdma_cm picks card,
// port and GID by the address and its routes, these only make sure that it picks what is meant.
type Options struct {
	Device string
	Port   int
	// GIDIndex is the entry of the port's table of addresses.
	GIDIndex int
	// MTU is the bytes of a packet that a connection must use: 256 to 4096.
	MTU int
}
