package meta

const (
	// MaxTxnBytes bounds the keys and values that one transaction writes. A larger one is
	// refused with ErrTooLarge before anything is written. A volume of 64 TiB needs about 11 MB.
	MaxTxnBytes = 32 << 20
	// MaxKeyBytes and MaxValueBytes bound one entry; larger ones are refused with ErrTooLarge.
	MaxKeyBytes   = 1024
	MaxValueBytes = 4 << 20

	// watchQueue is how many unread changes a watch keeps. When one more comes, the watch drops
	// them all and its reader gets ErrLagged.
	watchQueue = 4096

	// memTableBytes and cacheBytes bound pebble's memory.
	memTableBytes = 16 << 20
	cacheBytes    = 32 << 20
)
