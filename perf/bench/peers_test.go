package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/ashlar-storage/ashlar/perf/fio"
)

func TestPeersAreStartedByNameOrReachedByOptions(t *testing.T) {
	got, err := parsePeers("nbdkit ceph:ioengine=rbd,rbdname=img{n}")
	if err != nil || len(got) != 2 || got[0].serve == nil || got[1].serve != nil {
		t.Fatalf("%+v, %v", got, err)
	}
	if o := got[1].numbered(3); !slices.Equal(o, []string{"ioengine=rbd", "rbdname=img3"}) {
		t.Errorf("options of the third volume: %v", o)
	}
	for _, bad := range []string{"ceph", "nbdkit nbdkit", "native:ioengine=null", "A:x", ":x"} {
		if _, err := parsePeers(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestAPeerTakesPartInTheJobsThatItCanDo(t *testing.T) {
	peers, err := parsePeers("nbdkit ceph:ioengine=rbd,rbdname=img{n}")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{o: options{size: 1 << 30, seconds: 1, peers: peers}}
	names := map[string]benchCase{}
	for _, c := range cases(peers) {
		if _, twice := names[c.name]; twice {
			t.Errorf("two cases are %s", c.name)
		}
		names[c.name] = c
	}
	for _, want := range []string{"nbdkit-write-1", "ceph-read-32", "nbdkit-seqwrite-32",
		"ceph-128k-read-8", "native-write-4x8", "ceph-write-4x8"} {
		if _, ok := names[want]; !ok {
			t.Errorf("no case %s", want)
		}
	}
	if _, ok := names["nbdkit-write-4x8"]; ok {
		t.Error("a peer of one volume is to write to four")
	}
	var job fio.Job
	c := names["ceph-write-4x8"]
	b.onPeer(&c, &job)
	if len(job.Each) != 4 || job.Each[3][1] != "rbdname=img4" || job.Size != 256<<20 {
		t.Errorf("%+v", job)
	}
}

func TestPeersStandBesideTheNativeClient(t *testing.T) {
	r := sampleResults()
	r.Peers = []string{"ceph"}
	for round := range 2 {
		k := float64(round + 1)
		for name, f := range map[string]figures{
			"ceph-write-1":        {P50: 2000 * k},
			"ceph-write-32":       {IOPS: 800},
			"native-128k-write-8": {IOPS: 2000, P50: 1},
			"raw-128k-write-8":    {IOPS: 8000, P50: 1},
		} {
			f.P50 = max(f.P50, 1)
			r.Samples = append(r.Samples, sample{Case: name, Round: round, figures: f})
		}
	}
	text := r.markdown()
	for _, want := range []string{
		"| Ashlar, NBD, fio | ceph |",
		"| 4 KiB durable write, random, QD1 | p50 us |",
		"| **750** |  |  | 3,000 (4.00 x) |", // 2000 / 500 in both rounds
		"| 12,000 IOPS",
		"| **12,000** |  |  | 800 (15.00 x) |",
		"| 128 KiB durable write, in order, QD8 | MB/s | 1,049 (0.25 x) | **262** |",
		"| write QD32 against Ceph | 15.0 x | 15.0 x | yes |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report does not say %q:\n%s", want, text)
		}
	}
}
