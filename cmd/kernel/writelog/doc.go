// Package writelog reads what the kernel's dm-log-writes target recorded: every write that a device
// was given, in the order in which flushes made them durable, with marks in between.
//
// # The log, version 1, little-endian
//
//	sector 0      | magic 8 | version 8 | entries 8 | sector size 4 | zero
//	then, entries times:
//	one sector    | first sector 8 | sectors 8 | flags 8 | data length 8 | text of a mark | zero
//	and its data    sectors x sector size; none for a discard or a mark
//
// The kernel puts a write that has completed behind the next flush that was sent after that, as
// this is when the device has promised it; writes with FUA and marks come at once. So everything
// before a flush in the log is durable after it, and nothing between two flushes is but FUA writes.
//
// # Failure
//
// Open refuses another magic, version or sector size, and a log cut short, with ErrFormat and the
// entry at which it happened. Nothing else is kept in memory than one entry and its data; an entry
// of more than MaxData bytes is refused.
package writelog
