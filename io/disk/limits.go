package disk

import "time"

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
	// minFiles and maxFiles bound how many files all disks of a process keep open, whatever
	// its own limit is; idle files beyond give their descriptor up until they are used.
	minFiles = 64
	maxFiles = 4 << 20
	// parkAtOnce is how many are parked when the bound is met, and parkLook how many are
	// looked at for it: when all of those are busy, one more is opened.
	parkAtOnce = 16
	parkLook   = 256
	// minDevice and maxDevice bound the size of a device; others are ErrInvalid.
	minDevice = 4 << 20
	maxDevice = 1 << 60
	// A device has room for one file per bytesPerEntry, half of a chunk of the default size, and
	// for minEntries at least; more is ErrNoSpace.
	bytesPerEntry = 8 << 20
	minEntries    = 1024
	// maxDevicePath is the longest name on a device, directories included; longer is ErrInvalid.
	maxDevicePath = 255
	// rotBytes is how many bytes of the head of a device may differ from what it should be and
	// still be rot, which is mended; more is something else's data, and the device is refused.
	rotBytes = 8
	// scanBytes is the size of the reads of a directory when a device is opened.
	scanBytes = 1 << 20
	// maxWorkers is the most goroutines that stand in for io_uring; operations beyond wait.
	maxWorkers = 32
	// ringEntries is the most operations sent in one system call; at more, Submit sends.
	ringEntries = 1024
	// maxInflight is the most operations a ring has under way; more wait in a list.
	maxInflight = 2 * ringEntries
	// maxWaiting is the most operations in that list; more complete with ErrOverloaded.
	maxWaiting = 1 << 16
	// maxRegistered is how much of the arena is registered with a ring: what is stays in memory
	// whether it is used or not. Operations beyond, which only a busy pool has, have their pages
	// looked up each time.
	maxRegistered = 64 << 20
	// HereWait is how long FlushHere waits for its operation, at most. After one that took longer
	// it only sends for hereAgain, and for twice as long after each further one in a row, up to
	// hereAgainMax: a device that is late now and then costs little to wait for, one that is slow
	// is soon left alone. It begins to wait with the hereAfter-th flush in a row that had one
	// operation to send and none under way: where more comes, a hand-over carries many.
	HereWait     = time.Millisecond
	hereAgain    = 10 * time.Millisecond
	hereAgainMax = 640 * time.Millisecond
	hereAfter    = 4
	// maxUnsynced is the most unsynced blocks of a simulated file: beyond it the oldest half
	// becomes durable, as a device's cache writes back under pressure.
	maxUnsynced = 16384
	// watchMarks times watchGrain is one lap of a Watched's marks, 25.6 s; watchGrain is how
	// exactly it knows an operation's age.
	watchMarks = 512
	watchGrain = 50 * time.Millisecond
	// loopDepthMax is how many loop devices on top of each other CacheOf follows; deeper ones are
	// taken for unknown.
	loopDepthMax = 8
	// simBytes is the capacity of a simulated disk that names none.
	simBytes = 1 << 40
)
