package wal

import "testing"

func TestExactlyOneVerdictMatchesAnyEvidence(t *testing.T) {
	seen := map[verdict]int{}
	for bits := range 1 << 6 {
		on := func(i int) bool { return bits>>i&1 == 1 }
		e := evidence{atEnd: on(0), descriptor: on(1), payload: on(2), promised: on(3),
			later: on(4), begun: on(5)}
		matches := 0
		for i := range cases {
			if cases[i].match(e) {
				matches++
			}
		}
		if matches != 1 {
			t.Errorf("%+v matches %d cases", e, matches)
		}
		seen[judge(e)]++
	}
	if len(seen) != len(cases) {
		t.Errorf("%d verdicts are reached, the table has %d", len(seen), len(cases))
	}
}

func TestPromisedBytesAreNeverCut(t *testing.T) {
	for bits := range 1 << 4 {
		on := func(i int) bool { return bits>>i&1 == 1 }
		e := evidence{descriptor: on(0), payload: on(1), later: on(2), begun: on(3),
			promised: true}
		switch v := judge(e); v {
		case verdictReplay, verdictLostRecords, verdictLostFrame:
		default:
			t.Errorf("%+v: verdict %d", e, v)
		}
	}
}

func TestExactlyOneOriginMatchesAnySlot(t *testing.T) {
	seen := map[origin]int{}
	for bits := range 1 << 6 {
		on := func(i int) bool { return bits>>i&1 == 1 }
		e := slotEvidence{header: on(0), blank: on(1), frame: on(2), newer: on(3),
			found: on(4), empty: on(5)}
		matches := 0
		for i := range slotCases {
			if slotCases[i].match(e) {
				matches++
			}
		}
		if matches != 1 {
			t.Errorf("%+v matches %d cases", e, matches)
		}
		seen[judgeSlot(e)]++
	}
	if len(seen) != int(originUnreadable) {
		t.Errorf("%d origins are reached, there are %d", len(seen), originUnreadable)
	}
}

func TestChainSkipsWhatAnEarlierRecoveryCutOff(t *testing.T) {
	y := layout{size: 100}
	seg := func(seq uint64, prev LSN) segmentHeader {
		return segmentHeader{stamp: stamp{seq: seq}, prevEnd: prev}
	}
	// 3 was cut off: 4 says that the log ended in 2 before it.
	ids := []segmentHeader{seg(1, 0), seg(2, 150), seg(3, 290), seg(4, 240)}
	links, gaps := chain(y, ids, 100)
	want := []link{{id: 0, end: 50}, {id: 1, end: 40}, {id: 3}}
	if len(gaps) != 0 || len(links) != len(want) {
		t.Fatalf("links %v gaps %v, want %v", links, gaps, want)
	}
	for i := range want {
		if links[i] != want[i] {
			t.Errorf("link %d is %v, want %v", i, links[i], want[i])
		}
	}
}

func TestChainFollowsASegmentThatIsFullToItsEnd(t *testing.T) {
	y := layout{size: 100}
	ids := []segmentHeader{{stamp: stamp{seq: 1}}, {stamp: stamp{seq: 2}, prevEnd: 200}}
	links, gaps := chain(y, ids, 100)
	if len(gaps) != 0 || len(links) != 2 || links[0].end != 100 {
		t.Errorf("links %v gaps %v", links, gaps)
	}
}

func TestChainReportsMissingSegments(t *testing.T) {
	y := layout{size: 100}
	seg := func(seq uint64, prev LSN) segmentHeader {
		return segmentHeader{stamp: stamp{seq: seq}, prevEnd: prev}
	}
	ids := []segmentHeader{seg(2, 150), seg(5, 450)}
	links, gaps := chain(y, ids, 100)
	if len(links) != 2 || links[0].end != 0 {
		t.Errorf("links %v", links)
	}
	want := []gap{{100, 200}, {300, 500}}
	if len(gaps) != 2 || gaps[0] != want[0] || gaps[1] != want[1] {
		t.Errorf("gaps %v, want %v", gaps, want)
	}
	if links, gaps = chain(y, nil, 100); len(links)+len(gaps) != 0 {
		t.Errorf("an empty log has links %v gaps %v", links, gaps)
	}
}
