package job

import (
	"fmt"
	"strings"
)

// others are options of fio that are not supported here. Their names are listed so that the error
// can say so instead of taking them for misspelled.
var others = strings.Fields(`
	description wait_for lockfile directory filename_format unique_filename opendir ba
	bs_unaligned ignore_error rw_sequencer iodepth_batch iodepth_batch_complete_min
	iodepth_batch_complete_max iodepth_low serialize_overlap io_submit_mode fill_device filesize
	file_append offset_align random_generator percentage_random allrandrepeat nrfiles
	file_service_type openfiles fallocate fadvise_hint write_barrier sync_file_range atomic
	buffered overwrite loops startdelay clocksource mem verify_only verify_interval verify_offset
	verify_dump verify_async verify_backlog verify_backlog_batch experimental_verify
	verify_state_load verify_state_save trim_percentage trim_verify_zero trim_backlog
	trim_backlog_batch write_iolog read_iolog read_iolog_chunked replay_no_stall replay_redirect
	replay_scale replay_align replay_time_scale replay_skip merge_blktrace_file exec_prerun
	exec_postrun ioscheduler zonemode zonesize zonecapacity zonerange zoneskip lockmem nice prio
	prioclass thinktime_spin thinktime_blocks thinktime_blocks_type thinktime_iotime rate rate_min
	rate_cycle rate_ignore_thinktime rate_iops_min max_latency latency_target latency_window
	latency_percentile latency_run invalidate write_hint create_serialize create_fsync
	create_on_open create_only allow_file_create allow_mounted_write pre_read cpumask cpus_allowed
	cpus_allowed_policy numa_cpu_nodes numa_mem_policy fsync_on_close unlink unlink_each_loop
	exitall exit_what exitall_on_error per_job_logs bwavgtime iopsavgtime log_entries
	log_hist_msec log_hist_coarseness write_hist_log log_max_value log_offset log_prio
	log_compression log_compression_cpus log_store_compressed log_unix_epoch log_alternate_epoch
	block_error_percentiles stats zero_buffers refill_buffers scramble_buffers buffer_pattern
	buffer_compress_percentage buffer_compress_chunk dedupe_percentage dedupe_mode
	slat_percentiles significant_figures disk_util gtod_reduce disable_lat disable_clat
	disable_slat disable_bw_measurement gtod_cpu unified_rw_reporting continue_on_error error_dump
	profile cgroup cgroup_nodelete cgroup_weight uid gid kb_base unit_base hugepage-size flow_id
	flow flow_sleep steadystate steadystate_duration steadystate_ramp_time include`)

func unknown(s Setting) error {
	for _, o := range others {
		if o == s.Name {
			return fmt.Errorf("%w: %s: %s is an option of fio that is not supported here: leave "+
				"it out", ErrInvalid, s.Where, s.Name)
		}
	}
	hint := "`ashlar bench --help` lists the options"
	best := 3
	for _, o := range options {
		if d := distance(s.Name, o.Name); d < best {
			best, hint = d, "did you mean "+o.Name+"?"
		}
	}
	return fmt.Errorf("%w: %s: no option is called %.40q: %s", ErrInvalid, s.Where, s.Name, hint)
}

// Unknown is the error for an option of that name on a command line.
func Unknown(name string) error { return unknown(Setting{Name: name, Where: "command line"}) }

// distance is how many letters must be changed, added or taken away, at most 3.
func distance(a, b string) int {
	if len(a) > 40 || len(a)-len(b) > 2 || len(b)-len(a) > 2 {
		return 3
	}
	row := make([]int, len(b)+1)
	for i := range row {
		row[i] = i
	}
	for i := range a {
		diagonal := row[0]
		row[0] = i + 1
		for k := range b {
			change := diagonal
			if a[i] != b[k] {
				change++
			}
			diagonal = row[k+1]
			row[k+1] = min(change, row[k]+1, row[k+1]+1)
		}
	}
	return row[len(b)]
}
