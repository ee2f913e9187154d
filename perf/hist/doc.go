// Package hist counts latencies in the buckets that fio uses, so that figures and histograms of
// both can be laid side by side.
//
// A bucket is at most 1/64 of its value wide (1.6 %). Memory is fixed: 1856 counters. Values are
// ns; those beyond about 17 s count in the last bucket. A Hist is not safe for concurrent use:
// each worker has its own, and Merge joins them.
//
//	h.Add(ns)
//	p50 := h.Percentile(50)
package hist
