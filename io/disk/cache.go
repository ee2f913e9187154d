package disk

import (
	"fmt"
	"strings"
)

// CacheVerdict says whether a power cut may take what a disk reports as durable.
type CacheVerdict uint8

const (
	// CacheNone: nothing on the way forgets.
	CacheNone CacheVerdict = iota + 1
	// CacheFlushed: a volatile write cache, and a durable write flushes it.
	CacheFlushed
	// CacheVolatile: what is written is in memory only, or in a cache that no flush reaches.
	CacheVolatile
	// CacheUnknown: this host cannot tell.
	CacheUnknown
)

func (v CacheVerdict) String() string {
	return [...]string{"", "no volatile cache", "flushed", "volatile", "unknown"}[v]
}

// Cache is what CacheOf found out about the way from a directory to its medium.
type Cache struct {
	Verdict CacheVerdict
	// Where names the mount and the devices below it.
	Where string
	// Reason says why the verdict is what it is; Fix what an operator can do about it.
	Reason, Fix string
}

// Err is nil unless the verdict is volatile; then it wraps ErrVolatile and says where and why, and
// the fix.
func (c Cache) Err() error {
	if c.Verdict != CacheVolatile {
		return nil
	}
	return fmt.Errorf("%w: %s: %s: %s", ErrVolatile, c.Where, c.Reason, c.Fix)
}

// cacheFacts are the named booleans the verdict depends on.
type cacheFacts struct {
	memory      bool // a file system or a device whose medium is memory
	hidden      bool // the file system is on no block device of this host
	mute        bool // a device at the bottom does not say what it caches
	writeBack   bool // a device at the bottom has a volatile write cache
	barriersOff bool // the file system was told to send no flushes
	swallowed   bool // a layer above a device with a volatile cache passes no flushes on
	fua         bool // every device with a volatile cache can write through it
}

// cacheRule is one row of the decision table. For any facts exactly one rule matches.
type cacheRule struct {
	match       func(f cacheFacts) bool
	verdict     CacheVerdict
	reason, fix string
}

// usable says that there are devices to judge by.
func (f cacheFacts) usable() bool { return !f.memory && !f.hidden }

// reached says that a flush of the file system gets to every device.
func (f cacheFacts) reached() bool { return !f.barriersOff && !f.swallowed }

var cacheRules = []cacheRule{
	{func(f cacheFacts) bool { return f.memory }, CacheVolatile,
		"what is written there is in memory only and ends with the power",
		"name a directory on a disk, or a disk"},
	{func(f cacheFacts) bool { return !f.memory && f.hidden }, CacheUnknown,
		"the file system does not show the devices it writes to",
		"make sure that a synced write survives a power cut there"},
	{func(f cacheFacts) bool { return f.usable() && f.writeBack && f.barriersOff }, CacheVolatile,
		"it is mounted without barriers and the device has a volatile write cache",
		"mount it with barriers (`mount -o remount,barrier MOUNT`; f2fs: fsync_mode=posix)"},
	{func(f cacheFacts) bool {
		return f.usable() && f.writeBack && !f.barriersOff && f.swallowed
	}, CacheVolatile,
		"a layer passes no flushes on to a device with a volatile write cache",
		"give that layer a write cache too (`echo 'write back' > " +
			"/sys/block/LAYER/queue/write_cache`)"},
	{func(f cacheFacts) bool { return f.usable() && f.writeBack && f.reached() && f.mute },
		CacheUnknown, "some of its devices do not say whether they have a volatile write cache",
		"make sure that they have none, or one that is flushed"},
	{func(f cacheFacts) bool { return f.usable() && !f.writeBack && f.mute }, CacheUnknown,
		"the device does not say whether it has a volatile write cache",
		"make sure that it has none, or one that is flushed"},
	{func(f cacheFacts) bool {
		return f.usable() && f.writeBack && f.reached() && !f.mute && f.fua
	}, CacheFlushed, "the device has a volatile write cache and writes through it when asked", ""},
	{func(f cacheFacts) bool {
		return f.usable() && f.writeBack && f.reached() && !f.mute && !f.fua
	}, CacheFlushed, "the device has a volatile write cache, which durable writes flush", ""},
	{func(f cacheFacts) bool { return f.usable() && !f.writeBack && !f.mute }, CacheNone,
		"the device has no volatile write cache", ""},
}

// judgeCache decides by the facts; the names fill the fix of a rule.
func judgeCache(f cacheFacts, mount, layer string) (c Cache) {
	for _, r := range cacheRules {
		if r.match(f) {
			fix := strings.NewReplacer("MOUNT", mount, "LAYER", layer).Replace(r.fix)
			return Cache{Verdict: r.verdict, Reason: r.reason, Fix: fix}
		}
	}
	panic("disk: no rule for the facts about a write cache")
}
