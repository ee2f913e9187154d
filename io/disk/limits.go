package disk

// The bounds of a disk, and what happens at them.
const (
	// MaxVec is the most slices in one operation; more is ErrInvalid (the kernel's IOV_MAX).
	MaxVec = 1024
	// MaxIO is the most bytes in one operation; more is ErrInvalid.
	MaxIO = 1 << 30
	// MaxFile is the most bytes ReadFile and WriteFile handle; more is ErrInvalid.
	MaxFile = 64 << 20
	// MaxName is the longest path component; longer is ErrInvalid. It leaves room for the
	// prefix of temporary files within the kernel's 255.
	MaxName = 200
	// maxUnsynced is the most unsynced blocks of a simulated file: beyond it the oldest half
	// becomes durable, as a device's cache writes back under pressure.
	maxUnsynced = 16384
	// simBytes is the capacity of a simulated disk that names none.
	simBytes = 1 << 40
)
