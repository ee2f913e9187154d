package node

import (
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/dataplane/store"
	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/rpc/ops"
)

// storeSample is what one scrape has of a store.
type storeSample struct {
	stats         store.Stats
	report        store.Report
	scrub         store.Scrub
	leaderChanges uint64
	timing        *copyset.Timing
}

type storeMetric = ops.Metric[storeSample]

func storeGauge[N int | int64 | uint64](name, unit, help string,
	f func(*storeSample) N) storeMetric {
	return storeMetric{Name: "ashlar_store_" + name, Unit: unit, Help: help, Kind: ops.Gauge,
		Value: func(t *storeSample) float64 { return float64(f(t)) }}
}

func storeCount(name, unit, help string, f func(*storeSample) uint64) storeMetric {
	m := storeGauge(name, unit, help, f)
	m.Kind = ops.Counter
	return m
}

var storeStates = []string{string(store.StateUp), string(store.StateFull),
	string(store.StateStalled), string(store.StateFailed)}

func storeMetrics() []storeMetric {
	type s = storeSample
	return []storeMetric{
		{Name: "ashlar_store_state", Kind: ops.Gauge, Labels: []string{"state"},
			Help: "1 for the state that the store is in, 0 for the others.",
			States: func(t *s, each func(string, float64)) {
				ops.OneOf(string(t.report.State), storeStates, each)
			}},
		storeGauge("capacity_bytes", "bytes", "What the chunk files may take in all.",
			func(t *s) int64 { return t.report.Capacity }),
		storeGauge("used_bytes", "bytes", "What the chunks that exist take.",
			func(t *s) int64 { return t.report.Used }),
		storeGauge("free_bytes", "bytes", "What further chunks may take.",
			func(t *s) int64 { return max(0, t.report.Capacity-t.report.Used) }),
		{Name: "ashlar_store_oldest_request_seconds", Kind: ops.Gauge, Unit: "seconds",
			Help:  "Age of the oldest request of a client that has no answer yet; 0: none waits.",
			Value: func(t *s) float64 { return t.report.Waiting.Age.Seconds() }},
		{Name: "ashlar_store_oldest_device_operation_seconds", Kind: ops.Gauge, Unit: "seconds",
			Help:  "Age of the oldest read or durable write that the device has not answered.",
			Value: func(t *s) float64 { return t.report.Waiting.Device.Seconds() }},
		storeGauge("high_bytes", "bytes",
			"Of used_bytes, from which on the store is said to fill up; 0: never.",
			func(t *s) int64 { return t.report.Space.High }),
		storeGauge("full_bytes", "bytes",
			"Of used_bytes, from which on new chunks are refused; 0: when nothing is left.",
			func(t *s) int64 { return t.report.Space.Full }),
		storeGauge("ready_bytes", "bytes", "What files take that await a chunk.",
			func(t *s) int64 { return t.report.Space.Ready }),
		storeGauge("log_file_bytes", "bytes", "What the log's files take, used or not.",
			func(t *s) int64 { return t.report.Space.Log }),
		storeCount("corrupt_blocks_total", "", "Blocks that did not fit their checksum.",
			func(t *s) uint64 { return t.report.CorruptBlocks }),
		storeCount("repaired_blocks_total", "",
			"Bad blocks replaced by what another replica has.",
			func(t *s) uint64 { return t.report.Repaired }),
	}
}

func replicaMetrics() []storeMetric {
	type s = storeSample
	return []storeMetric{
		storeGauge("replicas", "", "Replicas of copysets on the store, lost ones too.",
			func(t *s) int { return t.stats.Replicas.Replicas }),
		storeGauge("leaders", "", "Replicas that lead their copyset and serve its clients.",
			func(t *s) int { return t.stats.Replicas.Serving }),
		storeGauge("lost_replicas", "",
			"Replicas that are damaged and do not run, until another takes their place.",
			func(t *s) int { return t.stats.Replicas.Lost }),
		storeGauge("restoring_replicas", "", "Replicas that fetch chunks from another.",
			func(t *s) int { return t.stats.Replicas.Restoring }),
		storeCount("leader_changes_total", "", "Changes of leader that the replicas have seen.",
			func(t *s) uint64 { return t.leaderChanges }),
		storeGauge("overlay_bytes", "bytes",
			"Committed data in memory that is not in the chunk files yet.",
			func(t *s) int64 { return t.stats.Replicas.OverlayBytes }),
	}
}

func clientMetrics() []storeMetric {
	type s = storeSample
	return []storeMetric{
		storeCount("reads_total", "", "Reads of clients served.",
			func(t *s) uint64 { return t.stats.Replicas.Counters.Reads }),
		storeCount("read_bytes_total", "bytes", "Data read by clients.",
			func(t *s) uint64 { return t.stats.Replicas.Counters.ReadBytes }),
		storeCount("writes_total", "", "Writes applied, on every replica of a block.",
			func(t *s) uint64 { return t.stats.Replicas.Counters.Writes }),
		storeCount("written_bytes_total", "bytes", "Data of the writes applied.",
			func(t *s) uint64 { return t.stats.Replicas.Counters.WriteBytes }),
		storeCount("zeroes_total", "", "Commands to zero blocks applied.",
			func(t *s) uint64 { return t.stats.Replicas.Counters.Zeroes }),
		storeCount("repeated_total", "",
			"Commands that came again and were not applied a second time.",
			func(t *s) uint64 { return t.stats.Replicas.Counters.Repeated }),
		storeCount("fenced_total", "", "Commands refused, as the volume is attached elsewhere.",
			func(t *s) uint64 { return t.stats.Replicas.Counters.Fenced }),
		storeCount("flushed_bytes_total", "bytes", "Data moved from memory to the chunk files.",
			func(t *s) uint64 { return t.stats.Replicas.Counters.FlushedBlocks * buf.BlockSize }),
	}
}

func timingMetrics() []storeMetric {
	return []storeMetric{{Name: "ashlar_store_request_seconds", Unit: "seconds",
		Kind: ops.Histogram, Labels: []string{"op", "stage"}, Histograms: stageTimes,
		Help: "Time that clients' requests spent in each stage, on the leader."},
		{Name: "ashlar_store_log_seconds", Unit: "seconds", Kind: ops.Histogram,
			Labels: []string{"stage"}, Histograms: logTimes,
			Help: "Time that replicas' appends waited for the log (wait), and that it took to " +
				"make them durable (write)."}}
}

// logTimes gives what appends to the log took.
func logTimes(t *storeSample, each func(ops.Group)) {
	each(groupOf(&t.timing.LogWait, "wait"))
	each(groupOf(&t.timing.LogWrite, "write"))
}

func groupOf(d *copyset.Durations, labels ...string) ops.Group {
	g := ops.Group{Labels: labels, Count: d.N, Sum: float64(d.Sum) / 1e9,
		Buckets: map[float64]uint64{}}
	d.Powers(func(bound, n uint64) { g.Buckets[float64(bound)/1e9] = n })
	return g
}

// stageTimes gives the stages that requests were in, and the last of each kind in any case.
func stageTimes(t *storeSample, each func(ops.Group)) {
	for _, k := range copyset.Kinds {
		for s := range copyset.Stages {
			d := t.timing.Of(k, s)
			if d.N == 0 && s != copyset.StageReply {
				continue
			}
			each(groupOf(d, k.String(), s.String()))
		}
	}
}

func logMetrics() []storeMetric {
	type s = storeSample
	return []storeMetric{
		storeCount("log_writes_total", "", "Durable writes of records to the log.",
			func(t *s) uint64 { return t.stats.Log.Writes }),
		storeCount("log_header_writes_total", "", "Durable writes of a frame without records.",
			func(t *s) uint64 { return t.stats.Log.HeaderWrites }),
		storeCount("log_written_bytes_total", "bytes", "What the log wrote to the device.",
			func(t *s) uint64 { return t.stats.Log.WriteBytes }),
		storeCount("log_payload_bytes_total", "bytes", "The part of it that is clients' data.",
			func(t *s) uint64 { return t.stats.Log.PayloadBytes }),
		storeCount("log_appends_total", "", "Appends to the log that became durable.",
			func(t *s) uint64 { return t.stats.Log.Appends }),
		{Name: "ashlar_store_log_batch_records", Kind: ops.Histogram,
			Help: "Records that became durable with one write of the log.", Histograms: logBatches},
		storeCount("log_starved_total", "",
			"Segments that the log had to wait for, as none was ready.",
			func(t *s) uint64 { return t.stats.Log.Starved }),
		storeCount("log_rotations_total", "", "Segments of the log begun.",
			func(t *s) uint64 { return t.stats.Log.Rotations }),
		storeGauge("log_live_segments", "", "Segments that hold records.",
			func(t *s) int { return t.stats.Log.LiveSegments }),
		storeGauge("log_ready_segments", "", "Segments that may be written.",
			func(t *s) int { return t.stats.Log.ReadySegments }),
		storeGauge("log_queued_appends", "", "Appends that wait for the log.",
			func(t *s) int { return t.stats.Log.Queued }),
		storeGauge("log_bytes", "bytes", "Log that a start would have to replay.",
			func(t *s) int64 { return t.stats.LogBytes }),
	}
}

// logBatches has a bucket for each power of two; what is beyond the last is in the count only.
func logBatches(t *storeSample, each func(ops.Group)) {
	all := t.stats.Log.Batches
	g := ops.Group{Sum: float64(t.stats.Log.Records),
		Buckets: make(map[float64]uint64, len(all))}
	for i, n := range all {
		g.Count += n
		if i < len(all)-1 {
			g.Buckets[float64(uint64(2)<<i-1)] = g.Count
		}
	}
	each(g)
}

func deviceMetrics() []storeMetric {
	type s = storeSample
	return []storeMetric{
		storeCount("device_reads_total", "", "Reads of the device.",
			func(t *s) uint64 { return t.stats.Disk.Reads }),
		storeCount("device_writes_total", "", "Writes that a later sync makes durable.",
			func(t *s) uint64 { return t.stats.Disk.Writes }),
		storeCount("device_durable_writes_total", "", "Writes that are durable when they end.",
			func(t *s) uint64 { return t.stats.Disk.DurableWrites }),
		storeCount("device_syncs_total", "", "Syncs of the device.",
			func(t *s) uint64 { return t.stats.Disk.Syncs }),
		storeCount("device_read_bytes_total", "bytes", "Read from the device.",
			func(t *s) uint64 { return t.stats.Disk.ReadBytes }),
		storeCount("device_written_bytes_total", "bytes", "Written to the device.",
			func(t *s) uint64 { return t.stats.Disk.WriteBytes }),
		storeCount("device_errors_total", "", "Operations that the device failed or cut short.",
			func(t *s) uint64 { return t.stats.Disk.Errors }),
		storeCount("device_submits_total", "", "System calls that sent queued operations.",
			func(t *s) uint64 { return t.stats.Disk.Submits }),
		storeCount("device_submitted_total", "", "Queued operations sent by them.",
			func(t *s) uint64 { return t.stats.Disk.Submitted }),
	}
}

func chunkMetrics() []storeMetric {
	type s = storeSample
	return []storeMetric{
		{Name: "ashlar_store_chunk_files", Kind: ops.Gauge, Labels: []string{"use"},
			Help: "Chunk files: those of chunks, those made ready, those that take large writes " +
				"or that the log names, those that cannot be trusted.",
			States: func(t *s, each func(string, float64)) {
				each("chunk", float64(t.stats.Chunks.Used))
				each("ready", float64(t.stats.Chunks.Free))
				each("lent", float64(t.stats.Chunks.Lent))
				each("damaged", float64(t.stats.Chunks.Damaged))
			}},
		storeGauge("chunk_size_bytes", "bytes", "What one chunk file takes.",
			func(t *s) int64 { return t.stats.Chunks.SlotBytes }),
		storeGauge("dirty_chunks", "", "Chunks with changes that a checkpoint will make durable.",
			func(t *s) int { return t.stats.Chunks.Dirty }),
		storeCount("chunk_checkpoints_total", "", "Chunks made durable.",
			func(t *s) uint64 { return t.stats.Chunks.Checkpoints }),
		storeCount("placed_bytes_total", "bytes",
			"Of large writes, written once, beside the log.",
			func(t *s) uint64 { return t.stats.Chunks.TwinBlocks * chunkfile.BlockSize }),
		storeCount("moved_bytes_total", "bytes",
			"Copied between two files of a chunk, of which a checkpoint leaves one.",
			func(t *s) uint64 { return t.stats.Chunks.CopiedBlocks * chunkfile.BlockSize }),
		storeCount("adopted_chunk_files_total", "",
			"Files with large writes that became those of their chunks.",
			func(t *s) uint64 { return t.stats.Chunks.Adopted }),
		storeGauge("checksum_tables", "", "Chunks whose checksums are in memory.",
			func(t *s) int { return t.stats.Chunks.Resident }),
		storeGauge("checksum_table_bytes", "bytes", "Memory of those checksums.",
			func(t *s) int64 { return t.stats.Chunks.TableBytes }),
		storeCount("checksum_table_loads_total", "", "Tables of checksums read from the device.",
			func(t *s) uint64 { return t.stats.Chunks.TableLoads }),
		storeCount("checksum_table_evictions_total", "", "Tables of checksums dropped for others.",
			func(t *s) uint64 { return t.stats.Chunks.TableEvictions }),
	}
}

func scrubMetrics() []storeMetric {
	type s = storeSample
	return []storeMetric{
		storeGauge("scrub_enabled", "", "1 when the store is scrubbed, 0 when that is off.",
			func(t *s) int {
				if t.scrub.On {
					return 1
				}
				return 0
			}),
		storeGauge("scrub_cycle", "", "Number of the cycle, since the store was made.",
			func(t *s) uint64 { return t.scrub.Cycle }),
		{Name: "ashlar_store_scrub_progress_ratio", Kind: ops.Gauge, Unit: "ratio",
			Help:  "The part of the chunks that the cycle has passed, 0 to 1.",
			Value: func(t *s) float64 { return float64(t.scrub.Percent) / 100 }},
		storeGauge("scrub_checked_blocks", "", "Blocks with data that were read in this cycle.",
			func(t *s) uint64 { return t.scrub.Checked }),
		storeGauge("scrub_skipped_blocks", "",
			"Blocks left out of this cycle, as their replica did not answer.",
			func(t *s) uint64 { return t.scrub.Skipped }),
		storeGauge("scrub_compared_blocks", "",
			"Blocks of this cycle whose checksums were held against the other replicas'.",
			func(t *s) uint64 { return t.scrub.Compared }),
		storeGauge("scrub_unrepaired_blocks", "",
			"Blocks that were bad when last read, in all replicas.",
			func(t *s) int { return t.scrub.Unrepaired }),
		storeGauge("scrub_diverged_blocks", "",
			"Blocks that differ between replicas, though each fits its checksum.",
			func(t *s) int { return t.scrub.Diverged }),
		storeCount("scrub_bad_blocks_total", "", "Bad blocks found since the store was made.",
			func(t *s) uint64 { return t.scrub.Bad }),
		storeCount("scrub_repaired_blocks_total", "", "Those of them that were repaired.",
			func(t *s) uint64 { return t.scrub.Repaired }),
		storeCount("scrub_bad_metadata_total", "",
			"Chunks whose metadata on the device was not what was written.",
			func(t *s) uint64 { return t.scrub.BadMeta }),
		storeCount("scrub_repaired_metadata_total", "", "Those of them where it was written anew.",
			func(t *s) uint64 { return t.scrub.RepairedMeta }),
		storeGauge("scrub_findings", "", "Findings that are kept for the listings.",
			func(t *s) int { return len(t.scrub.Findings) }),
		{Name: "ashlar_store_scrub_start_timestamp_seconds", Kind: ops.Gauge, Unit: "seconds",
			Help:  "When this cycle began, since 1970.",
			Value: func(t *s) float64 { return unixSeconds(t.scrub.Started) }},
		{Name: "ashlar_store_scrub_end_timestamp_seconds", Kind: ops.Gauge, Unit: "seconds",
			Help:  "When the last cycle that was finished ended, since 1970; 0: none was.",
			Value: func(t *s) float64 { return unixSeconds(t.scrub.Finished) }},
	}
}

func unixSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}
