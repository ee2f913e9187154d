package meta

import "time"

const (
	// MaxTxnBytes bounds the keys and values that one transaction writes. A larger one is
	// refused with ErrTooLarge before anything is written. A volume of 64 TiB needs about 11 MB.
	MaxTxnBytes = 32 << 20
	// MaxKeyBytes and MaxValueBytes bound one entry; larger ones are refused with ErrTooLarge.
	MaxKeyBytes = 1024
	// etcd takes 1.5 MiB in one request unless it is told otherwise.
	MaxValueBytes = 1 << 20

	// watchQueue is how many unread changes a watch keeps. When one more comes, the watch drops
	// them all and its reader gets ErrLagged.
	watchQueue = 4096

	// backupPartBytes is about the size of a part of a backup, backupPartMost what a reader takes.
	backupPartBytes = 1 << 20
	backupPartMost  = backupPartBytes + recordHead + MaxKeyBytes + MaxValueBytes

	// memTableBytes and cacheBytes bound pebble's memory.
	memTableBytes = 16 << 20
	cacheBytes    = 32 << 20
)

// Of etcd. Its own bounds, unless it is started with others, are 128 operations in a transaction
// and 1.5 MiB in a request.
const (
	// DefaultEtcdPrefix is where the metadata lies in etcd.
	DefaultEtcdPrefix = "/ashlar/"
	// DefaultLease is for how long a leader that falls silent keeps the others out. etcd grants
	// whole seconds, and not less than 1.5 times its election time-out: 2 s.
	DefaultLease = 2 * time.Second

	// etcdOps and etcdBytes are how many writes, and how many bytes of them, go in one request;
	// a transaction with more goes through the journal.
	etcdOps   = 100
	etcdBytes = 1 << 20
	// partBytes is the size of a part of the journal, and maxParts how many there can be: a
	// transaction has MaxTxnBytes, and a part is left half empty at worst.
	partBytes = 1 << 20
	maxParts  = 2*MaxTxnBytes/partBytes + 1
	// journalWays is how many requests carry a journal out at a time.
	journalWays = 8
	// etcdPage is how many keys one request of a scan asks for, and partPage how many parts.
	etcdPage = 512
	partPage = 4

	// etcdTry bounds one request: the next goes to another member.
	etcdTry = time.Second
	// etcdPause is between two tries, etcdWait between looks for who leads.
	etcdPause = 20 * time.Millisecond
	etcdWait  = 500 * time.Millisecond
	// etcdLimit bounds a View's or Update's waiting for etcd, and resolveLimit the search for the
	// outcome of a commit after that.
	etcdLimit    = 5 * time.Second
	resolveLimit = 5 * time.Second

	// etcdDialTimeout bounds one try to connect to a member, etcdRedial the pause before the next.
	etcdDialTimeout = 2 * time.Second
	etcdRedial      = 500 * time.Millisecond
	// etcdPing and etcdPong notice a member that is gone without a word; the libraries of both
	// sides refuse shorter ones.
	etcdPing = 10 * time.Second
	etcdPong = 2 * time.Second
	// leaseBeats is how often in the time of a lease it is renewed, and leaseMargin the part of
	// it that the leader gives up for clocks that do not run alike.
	leaseBeats  = 5
	leaseMargin = 10
)
