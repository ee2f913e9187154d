package wire

// Sizes of the protocol. A decoder refuses whatever passes them, before it
// allocates anything.
const (
	// HeaderSize is the fixed size of a frame header in bytes.
	HeaderSize = 32
	// MaxMeta bounds the metadata of one frame in bytes.
	MaxMeta = 64 << 10
	// MaxPayload bounds the payload of one frame in bytes. A client splits
	// longer requests.
	MaxPayload = 1 << 20
	// BlockSize is the unit of checksums in bytes.
	BlockSize = 4096
	// MaxCRCs is the most blocks that one payload can touch: an unaligned
	// payload of MaxPayload bytes touches one more block than it fills.
	MaxCRCs = MaxPayload/BlockSize + 1
	// MaxAddr bounds a leader's address in an answer, in bytes.
	MaxAddr = 256
	// MaxMessage bounds the text of an answer in bytes; the encoder cuts
	// longer text.
	MaxMessage = 1024
	// MaxName bounds each string of a greeting in bytes.
	MaxName = 255
)

// FrameVersion is the version of the frame format, carried in every header.
// A frame of another version is refused: nothing behind an unknown header can
// be trusted to be where this package expects it.
const FrameVersion = 1

// ProtocolVersion is the newest dialect this build speaks, carried in Hello.
// A peer with a newer one is refused with its version named.
const ProtocolVersion = 1
