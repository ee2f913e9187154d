package main

// mutant is one deliberate bug.
type mutant struct {
	name    string
	promise string // of docs/reliability.md
	file    string
	old     string // stands in the file exactly once
	new     string
	pkg     string
	test    string // the name of the test that must fail
}

// canary changes nothing. Its test must pass.
var canary = mutant{"canary: nothing is broken", "-", "io/wal/verdict.go",
	`panic("wal: no verdict for the evidence")`, `panic("wal: no verdict for this evidence")`,
	"./io/wal", "TestEveryCrashKeepsWhatWasAcknowledged"}

var mutants = []mutant{
	// The disk.
	{"disk: create a file without syncing its directory", "P1", "io/disk/dirnames.go",
		`	if err := d.syncDir(path.Dir(name)); err != nil {
		_ = unix.Close(fd)`, `	if err := error(nil); err != nil {
		_ = unix.Close(fd)`,
		"./io/disk", "TestEveryChangeOfADirectoryIsSynced"},
	{"disk: rename without syncing the directory", "P1", "io/disk/dirnames.go",
		`err := d.syncDir(path.Dir(newname))`, `err := error(nil)`,
		"./io/disk", "TestEveryChangeOfADirectoryIsSynced"},
	{"disk: remove without syncing the directory", "P6", "io/disk/dirnames.go",
		`		err = d.syncDir(path.Dir(name))`, `		err = nil`,
		"./io/disk", "TestEveryChangeOfADirectoryIsSynced"},

	{"disk: believe in a flush that a layer swallows", "P1", "io/disk/cachefacts.go",
		`l.facts.swallowed = l.facts.swallowed || swallowed`, `_ = swallowed`,
		"./io/disk", "TestStackedDevicesAreAsGoodAsTheWorstBelow"},
	{"disk: overlook a mount without barriers", "P1", "io/disk/cachefacts.go",
		`|| o == "fsync_mode=nobarrier"`, ``,
		"./io/disk", "TestBarriersOffMatterOverAVolatileCacheOnly"},

	// The device.
	{"device: acknowledge a name before it is durable", "P1", "io/disk/devnames.go",
		`	return d.m.WriteVec([][]byte{page}, at, true)`,
		`	return d.m.WriteVec([][]byte{page}, at, false)`,
		"./io/disk", "TestEveryPowerCutLeavesEachNameOldOrNew"},
	{"device: name content before it is durable", "P1", "io/disk/devnames.go",
		`d.m.WriteVec([][]byte{page}, n.first*BlockSize, true)`,
		`d.m.WriteVec([][]byte{page}, n.first*BlockSize, false)`,
		"./io/disk", "TestEveryPowerCutLeavesEachNameOldOrNew"},
	{"device: take the older copy of an entry", "P5", "io/disk/devload.go",
		`err2 == nil && f.gen > e.gen:`, `err2 == nil && f.gen < e.gen:`,
		"./io/disk", "TestALostWriteOfOneCopyIsMadeUpFor"},
	{"device: keep an entry whose name a newer one has", "P6", "io/disk/devload.go",
		`for _, e := range l.older {`, `for _, e := range l.older[:0] {`,
		"./io/disk", "TestEveryPowerCutLeavesEachNameOldOrNew"},
	{"device: give blocks away while a file in them is open", "P1", "io/disk/devnames.go",
		`	if n.refs--; n.refs == 0 {
		d.space.give(n.extent())`, `	if n.refs--; n.refs >= 0 {
		d.space.give(n.extent())`,
		"./io/disk", "TestAFullDeviceRefusesFilesAndKeepsWhatItHas"},
	{"device: leave a damaged copy of an entry as it is", "P4", "io/disk/devload.go",
		`	if bytes.Equal(had, want) {`, `	if bytes.Equal(had, had) {`,
		"./io/disk", "TestEveryBitOfAnEntryIsGuarded"},
	{"device: skip the crc of a sector", "P4", "io/disk/devformat.go",
		`	if got != want {`, `	if got != want && magic != magicEntry {`,
		"./io/disk", "TestEveryBitOfAnEntryIsGuarded"},
	{"device: take an entry of another place", "P5", "io/disk/devformat.go",
		`	case le.Uint64(page[32:]) != uint64(slot):`, `	case false:`,
		"./io/disk", "TestSectorsThatSayWhatCannotBeAreRefused"},
	{"device: mend what something else wrote over it", "P4", "io/disk/devsuper.go",
		`	if wrong > rotBytes {`, `	if wrong > deviceHead {`,
		"./io/disk", "TestADeviceThatSomethingElseTookOverIsRefusedAndLeftAlone"},
	{"device: format what is not blank", "P4", "io/disk/devsuper.go",
		`	if !force {`, `	if force {`,
		"./io/disk", "TestFormatErasesOnlyWhenItIsTold"},

	// The log.
	{"log: acknowledge before the write is durable", "P1", "io/wal/writer.go",
		`b.seg.file.WriteVec(b.vec, b.off, true)`, `b.seg.file.WriteVec(b.vec, b.off, false)`,
		"./io/wal", "TestEveryCrashKeepsWhatWasAcknowledged"},
	{"log: write on after a failed write", "P1", "io/wal/writer.go",
		`	err := l.stopped
	if err == nil {
		err = l.fill(b)`, `	err := error(nil)
	if err == nil {
		err = l.fill(b)`,
		"./io/wal", "TestAFailedWriteStopsTheLogForGood"},
	{"log: complete appends out of order", "P1", "io/wal/batch.go",
		`	if q.last == nil {
		q.first = a
	} else {
		q.last.next = a
	}
	q.last = a`, `	a.next = q.first
	if q.first == nil {
		q.last = a
	}
	q.first = a`,
		"./io/wal", "TestCompletionsKeepTheOrderOfAppends"},
	{"log: skip the crc of payload at recovery", "P4", "io/wal/replay.go",
		`e.payload = r.intact(desc, frame[len(desc):], h)`, `e.payload = true`,
		"./io/wal", "TestEveryByteOfASegmentIsGuarded"},
	{"log: forget the segment's stamp", "P5", "io/wal/replay.go",
		`e.descriptor = desc != nil && h.stamp == s.id.stamp &&`, `e.descriptor = desc != nil &&`,
		"./io/wal", "TestAFrameOfAnEarlierLifeIsNotReplayed"},
	{"log: forget the watermark when writing", "P1", "io/wal/writer.go",
		`		watermark: l.head,
		tail: `, `		watermark: 0,
		tail: `,
		"./io/wal", "TestDamageBeforeALaterFrameIsNeverTakenForATornTail"},
	{"log: take every bad frame for a torn tail", "P1", "io/wal/replay.go",
		`e.promised, e.later = at < r.watermark, at < r.last`,
		`e.promised, e.later = false, at < r.last`,
		"./io/wal", "TestAnUnreadableBlockCostsItsFrameOnly"},
	{"log: use a segment again before the tail is durable", "P1", "io/wal/segment.go",
		`g.lsn(s.hdr.seq+1, 0) > g.durableTail {`, `g.lsn(s.hdr.seq+1, 0) > g.tail {`,
		"./io/wal", "TestASegmentIsNotUsedAgainBeforeTheTailIsDurable"},
	{"log: accept reserved bytes", "P10", "io/wal/frame.go",
		`int(body) > n-frameHeaderSize || le.Uint64(b[88:]) != 0 {`,
		`int(body) > n-frameHeaderSize {`,
		"./io/wal", "TestReservedBytesMustBeZero"},
	{"log: recycle what is pinned", "P1", "io/wal/segment.go",
		`if s == g.active || s.pins > 0 || g.lsn`, `if s == g.active || g.lsn`,
		"./io/wal", "TestAPinnedSegmentIsKeptUntilItIsUnpinned"},
	{"log: skip the crc of a descriptor at recovery", "P4", "io/wal/format.go",
		`	if got != want {
		return fmt.Errorf("%w: %s crc`, `	if got != want && magic != magicFrame {
		return fmt.Errorf("%w: %s crc`,
		"./io/wal", "TestEveryByteOfASegmentIsGuarded"},
	{"log: forget a frame's own position", "P5", "io/wal/window.go",
		`h.store != y.store || h.at != y.lsn(h.seq, off) ||`, `h.store != y.store ||`,
		"./io/wal", "TestAFrameInAnotherPlaceIsNotReplayed"},

	// The chunk files.
	{"chunk: leave bitmap and table of a reused slot as they were", "P4",
		"io/chunkfile/cache.go", `		t.reset()
`, ``,
		"./io/chunkfile", "TestDataOfARecycledSlotIsNeverReadThroughTheNewChunk"},
	{"chunk: a wrong crc for a block of zeroes", "P4", "io/chunkfile/format.go",
		`crc32.Checksum(zeroes[:], castagnoli)`, `crc32.Checksum(zeroes[1:], castagnoli)`,
		"./io/chunkfile", "TestChecksumOfABlockOfZeroesIsThatOfTheFormat"},
	{"chunk: accept reserved bytes of a header", "P10", "io/chunkfile/format.go",
		`if !allZero(page[93:96]) || !allZero(page[128:headerCRCAt]) ||`, `if`,
		"./io/chunkfile", "TestReservedBytesOfAHeaderMustBeZero"},
	{"chunk: skip the crc when reading", "P4", "io/chunkfile/io.go",
		`got != want {
				bad(block, want, got)`, `got != want && block < 0 {
				bad(block, want, got)`,
		"./io/chunkfile", "TestBitflipIsReportedWithItsPlaceAndTheRestIsGood"},
	{"chunk: write the table before the data is durable", "P6", "io/chunkfile/checkpoint.go",
		`	j.submit(disk.Sync, 0, 0, synced)
`, `	j.submit(disk.Read, 0, headerPage, synced)
`,
		"./io/chunkfile", "TestOrderOfACheckpointIsDataTableSeal"},
	{"chunk: do not seal the superseded half", "P5", "io/chunkfile/checkpoint.go",
		`	old.next = j.header.follower()
`, `	_ = j.header.follower()
`,
		"./io/chunkfile", "TestALostMetadataWriteIsDetected"},
	{"chunk: return to the half before a lost one", "P5", "io/chunkfile/verdict.go",
		`return f.validA != f.validB && f.newestSealed }, verdictDamaged},`,
		`return f.validA != f.validB && f.newestSealed }, verdictFallback},`,
		"./io/chunkfile", "TestEveryBitOfBothHalvesIsGuarded"},
	{"chunk: trust the header of a version that is not sealed yet", "P6", "io/chunkfile/scan.go",
		`return d.verdict == verdictUse`,
		`return d.verdict == verdictUse || d.verdict == verdictSeal`,
		"./io/chunkfile", "TestAPowerCutLeavesTheOldOrTheNewVersion"},
	{"chunk: skip the crc of bitmap and table", "P4", "io/chunkfile/format.go",
		`got != h.bodyCRC {`, `got != h.bodyCRC && g.blocks < 0 {`,
		"./io/chunkfile", "TestEveryBitOfBothHalvesIsGuarded"},
	{"chunk: accept metadata of another slot", "P5", "io/chunkfile/format.go",
		`case h.slot != at.slot || h.half != at.half:`, `case h.half != at.half:`,
		"./io/chunkfile", "TestHalvesThatBelongElsewhereAreForeign"},
	{"chunk: both halves claim one version, one is used", "P5", "io/chunkfile/verdict.go",
		`return f.validA && f.validB && f.equal }, verdictDamaged},`,
		`return f.validA && f.validB && f.equal }, verdictUse},`,
		"./io/chunkfile", "TestVerdictOnEveryPairOfHalves"},
	{"chunk: record a crc although the write failed", "P3", "io/chunkfile/io.go",
		`if io.write && err == nil {`, `if io.write {`,
		"./io/chunkfile", "TestFailedDeviceWriteLeavesTheTableAsItWas"},
	{"chunk: lose a write made during a checkpoint", "P1", "io/chunkfile/checkpoint.go",
		`	c.save(j.changes)
	c.mu.Unlock()
	c.pool.stats.checkpoints`, `	c.save(c.changes)
	c.mu.Unlock()
	c.pool.stats.checkpoints`,
		"./io/chunkfile", "TestAWriteDuringACheckpointStaysDirtyForTheNext"},

	// The store.
	{"store: record a checkpoint without syncing the chunks", "P1",
		"dataplane/store/checkpoint.go",
		`if err := s.syncChunks(); err != nil {`, `if err := error(nil); err != nil {`,
		"./dataplane/store", "TestAcknowledgedWritesSurviveEveryPowerCut"},
	{"store: recycle log that a restart needs", "P1", "dataplane/store/checkpoint.go",
		`oldest = min(oldest, m.Needs())`, `_ = m.Needs()`,
		"./dataplane/store", "TestLogOfACopysetThatCannotDrainIsKept"},
	{"store: conclude from owners that were not asked", "P1", "dataplane/store/checkpoint.go",
		`		if !ran {
			return false
		}`, `		_ = ran`,
		"./dataplane/store", "TestCheckpointOfAStoppedStoreReleasesNothing"},
	{"store: let a lost replica come back under its number", "P1", "dataplane/store/recover.go",
		`rc.Replica() <= l.Replica {`, `rc.Replica() < l.Replica {`,
		"./dataplane/store", "TestChunkThatVanishesWhileItIsUsedEndsItsReplicaOnly"},
	{"store: forget at a power cut that a disk was put back", "P5", "dataplane/store/proof.go",
		`	return s.saveLost()`, `	return nil`,
		"./dataplane/store", "TestStoreThatWasPutBackIsLostAndRebuilt"},
	{"control: trust a disk that was put back", "P5", "controlplane/server/disks.go",
		`		out[i] = s.rec.LogEnd`, `		out[i] = 0`,
		"./controlplane/server", "TestStoreWhoseLogEndsBeforeWhatItReportedIsTold"},
	{"control: take a store for told before it took note", "P5", "controlplane/server/disks.go",
		`ident.Life != 0 && ident.LogEnd >= rec.LogEnd {`, `ident.Life != 0 {`,
		"./controlplane/server", "TestStoreWhoseLogEndsBeforeWhatItReportedIsTold"},
	{"meta: commit without the leader's key", "P14", "controlplane/meta/etcdcommit.go",
		`		conds = append(conds, w.fence.holds())`, `		_ = conds`,
		"./controlplane/meta", "TestLeaderThatIsCutOffStopsBeforeAnotherLeads"},
	{"meta: commit whatever others did since it read", "P14", "controlplane/meta/etcdcommit.go",
		`	conds := []clientv3.Cmp{w.k.headIs(snap.headMod)}`, `	var conds []clientv3.Cmp`,
		"./controlplane/meta", "TestWritersOfSeveralProcessesDoNotMix"},
	{"meta: take a commit without an answer for none", "P14", "controlplane/meta/etcdcommit.go",
		`		case now.head.commit == next.commit:
			return nil`, `		case now.head.commit == next.commit:
			return errConflict`,
		"./controlplane/meta", "TestCommitWhoseAnswerIsLostIsFoundOut"},
	{"meta: try again while the lost commit may still come", "P14",
		"controlplane/meta/etcdcommit.go", `		case now.headMod != snap.headMod:`,
		`		case now.headMod >= snap.headMod:`,
		"./controlplane/meta", "TestLostCommitCannotComeAfterItWasGivenUp"},
	{"meta: carry a journal out that is another's by now", "P14",
		"controlplane/meta/etcdjournal.go", `If(k.headIs(s.headMod)).Then(ops...)`,
		`Then(ops...)`,
		"./controlplane/meta", "TestJournalIsCarriedOutByWhoeverComesNextOrSwept"},
	{"meta: read what is being carried out", "P14", "controlplane/meta/etcdread.go",
		`err != nil || s.head.parts == 0 {`, `err != nil || s.head.parts >= 0 {`,
		"./controlplane/meta", "TestJournalIsCarriedOutByWhoeverComesNextOrSwept"},
	{"meta: let copy and directory be used at a time", "P14", "controlplane/meta/migrate.go",
		`	if err := mark(vfs.Default, dir, where); err != nil {`,
		`	if err := error(nil); err != nil {`,
		"./controlplane/meta", "TestMetadataMoveToEtcdAndTheDirectoryIsRefusedAfter"},
	{"control: serve when the leadership is over", "P14", "controlplane/server/term.go",
		`t != nil && t.lead.Held() {
		return t`, `t != nil {
		return t`,
		"./controlplane/server", "TestNothingIsServedWhenTheLeadershipIsOver"},
	{"control: answer what another may have changed", "P14", "controlplane/server/term.go",
		`	if err == nil && !t.lead.Held() {`, `	if false {`,
		"./controlplane/server", "TestNothingIsServedWhenTheLeadershipIsOver"},
	{"admin: send a call again that may have been carried out", "P14", "rpc/admin/route.go",
		`		s.route.leave(at, "")
		return false`, `		s.route.leave(at, "")
		return true`,
		"./rpc/admin", "TestCallThatMayHaveBeenCarriedOutIsNotRepeated"},
	{"copyset: vote before the disk is known to be the newest", "P5",
		"dataplane/copyset/proof.go", `return now < p.until }`, `return p.until < 0 }`,
		"./dataplane/copyset", "TestUnprovenReplicaTakesNoPartInElections"},
	{"copyset: answer a leader before it is known what was promised", "P5",
		"dataplane/copyset/proof.go", `	return missing`, `	return false`,
		"./dataplane/copyset", "TestUnprovenReplicaAnswersNoLeader"},
	{"copyset: hear nothing before it is known what was promised", "P5",
		"dataplane/copyset/proof.go", `if missing && m.Type == raftpb.MsgHeartbeat {`,
		`if missing && m.Type == raftpb.MsgSnap {`,
		"./dataplane/copyset", "TestUnprovenReplicaLearnsWhatItForgot"},
	{"copyset: recycle log that a job reads", "P4", "dataplane/copyset/flush.go",
		`		at = min(at, read)`, `		_ = min(at, read)`,
		"./dataplane/copyset", "TestLogIsKeptWhileAJobReadsIt"},
	{"copyset: overlook that a leader knows more", "P5", "dataplane/copyset/proof.go",
		`	return true
}`, `	r.proof.lost = nil
	return true
}`,
		"./dataplane/copyset", "TestReplicaThatForgotWhatItsLeaderKnowsIsLost"},
	{"control: call one of two known disks slow", "P8", "controlplane/schedule/slow.go",
		`	if len(known) < 3 {`, `	if len(known) < 2 {`,
		"./controlplane/schedule", "TestLeadersFollowTheScripts"},
	{"node: one long write makes a disk slow", "P8", "dataplane/node/logpace.go",
		`now: min(mean, p.before)}`, `now: max(mean, p.before)}`,
		"./dataplane/node", "TestPaceOfALogIsThatOfManyWrites"},
	{"store: a slot that cannot be read was empty", "P4", "dataplane/store/recover.go",
		`			r.all = why
			discard`, `			_ = why
			discard`,
		"./dataplane/store", "TestChunkWhoseMetadataIsGoneCostsItsReplicaAndNeverReadsAsZeroes"},
	{"store: serve on after a failed durable write", "P1", "dataplane/store/store.go",
		`				m.Stop(s.Failed(), &o.fx)`, `				_ = m`,
		"./dataplane/store", "TestFailureOfTheStoreStopsReplicasThatWroteNothing"},
	{"store: trust a list of lost replicas that does not fit its crc", "P4",
		"dataplane/store/lost.go",
		`case l.CRC != noteCRC(l.Replicas):`, `case l.CRC == 0:`,
		"./dataplane/store", "TestListOfLostReplicasIsGuarded"},
	{"store: give a client payload of the log unverified", "P4", "dataplane/store/exec.go",
		`if got := wire.CRC32C(dst); got != want {`, `if got := wire.CRC32C(dst); got == want+1 {`,
		"./dataplane/store", "TestPayloadOfTheLogIsVerifiedBeforeItIsUsed"},

	{"store: the scrubber takes replicas for equal that differ", "P5",
		"dataplane/store/scrubcross.go", `return r.crcs[n] != all[0].crcs[n] })`,
		`return r.crcs[n] != r.crcs[n] })`,
		"./dataplane/store", "TestScrubberTellsOfReplicasThatDifferAndChangesNone"},
	{"store: the scrubber takes a write under way for a difference", "P4",
		"dataplane/store/scrubcross.go", `a.replica == b.replica && a.crcs[n] == b.crcs[n]`,
		`a.replica == b.replica`,
		"./dataplane/store", "TestADifferenceThatChangesDoesNotCount"},
	{"chunk files: metadata that the device lost passes", "P5", "io/chunkfile/checkmeta.go",
		`	if f == nil && h != top {`, `	if f == nil && h.id != top.id {`,
		"./io/chunkfile", "TestMetadataThatTheDeviceLostIsMadeGoodFromMemory"},

	// The copyset.
	{"copyset: apply a repeated write again", "P3", "dataplane/copyset/apply.go",
		`	case repeated:
		r.counters.Repeated++
		return wire.StatusOK`, `	case repeated:
		r.counters.Repeated++`,
		"./dataplane/copyset", "TestStormyClusterIsLinearizable"},
	{"copyset: forget the exactly-once table at a checkpoint", "P3",
		"dataplane/copyset/flush.go",
		`		Sessions: r.sessions.appendTo(nil)}}`,
		`		Sessions: NewState(0, 0, 0, nil).Sessions}}`,
		"./dataplane/store", "TestRetriedWriteOfAnEarlierLifeIsNotAppliedAgain"},
	{"copyset: a checkpoint does not wait for the overlay", "P1", "dataplane/copyset/flush.go",
		`return cp == nil || !r.deleting &&`, `return cp != nil || !r.deleting &&`,
		"./dataplane/store", "TestAcknowledgedWritesSurviveEveryPowerCut"},
	{"copyset: take back a vote after a restart", "P2", "dataplane/copyset/recover.go",
		`	if h.Term > cur.Term {
		cur.Term, cur.Vote = h.Term, h.Vote
	}`, `	if h.Term >= cur.Term {
		cur.Term, cur.Vote = h.Term, h.Vote
	}`,
		"./dataplane/copyset", "TestVoteIsNeverTakenBack"},
	{"copyset: a log that ends before what was committed is well", "P1",
		"dataplane/copyset/recover.go",
		`if l.hard.Commit > l.last() {`, `if l.hard.Commit > l.last()+1000 {`,
		"./dataplane/copyset", "TestReplayTellsDamageFromWhatRecyclingLeaves"},
	{"copyset: a repair puts an older block over a newer one", "P1", "dataplane/copyset/repair.go",
		`if job.outdated[n] || ok &&`, `if ok &&`,
		"./dataplane/copyset", "TestRepairForAFetchDoesNotUndoAWriteThatWasFlushedMeanwhile"},
	{"copyset: a repair uses what the leader has not applied yet", "P2",
		"dataplane/copyset/repair.go",
		`if r.pending(job.Chunk, n) {`, `if false && r.pending(job.Chunk, n) {`,
		"./dataplane/copyset", "TestABlockThatMayBeFromTheFutureIsNotUsed"},
	{"copyset: a snapshot takes the place of a block that only the log has", "P1",
		"dataplane/copyset/snapshot.go",
		`if !cmd.OnBlocks() || !cmd.changes(c, block) {`, `if true {`,
		"./dataplane/copyset",
		"TestABlockIsHeldByTheOverlayAndByEntriesThatAreNotCommitted"},
	{"copyset: a lease of one set of voters in a joint membership", "P2",
		"dataplane/copyset/lease.go",
		`at = min(at, l.heard(self, conf.VotersOutgoing, now))`,
		`at = max(at, l.heard(self, conf.VotersOutgoing, now))`,
		"./dataplane/copyset", "TestLeaseInAJointMembershipNeedsBothMajorities"},
	{"copyset: a follower's promise shorter than the lease", "P2", "dataplane/copyset/suspect.go",
		`return r.leaderHeard + int64(promiseDuration)`,
		`return r.leaderHeard + int64(promiseDuration)/2`,
		"./dataplane/copyset", "TestFollowerOfAnEndedLeaderVotesOnceItsPromiseIsOver"},
	{"copyset: a leader that is heard stays suspect", "P2", "dataplane/copyset/suspect.go",
		`|| r.heardOf(st.Term) != s.heard {`, `|| r.heardOf(st.Term) < s.heard {`,
		"./dataplane/copyset", "TestLeaderThatIsHeardIsNotDoubted"},
	{"copyset: a replica told to stand breaks its promise", "P2", "dataplane/copyset/replica.go",
		`r.mayElect() && r.now >= r.promised()`, `r.mayElect()`,
		"./dataplane/copyset", "TestReplicaToldToStandKeepsItsPromise"},
	{"copyset: a hand-over hides that another leads", "P1", "dataplane/copyset/handoff.go",
		`	r.status.LeadTransferee = r.node.BasicStatus().LeadTransferee`,
		`	r.status = r.node.BasicStatus()`,
		"./dataplane/copyset", "TestFormerLeaderAnswersWhoWaitsAtOnce"},
	{"copyset: a leader waits an election time-out for its successor", "P7",
		"dataplane/copyset/replica.go", `r.ticks-r.transferAt >= transferTicks {`,
		`r.ticks-r.transferAt >= 4*transferTicks {`,
		"./dataplane/copyset", "TestLeaderThatNobodyTakesOverFromGoesOn"},
	{"copyset: a promise ends with the term that it was given in", "P2",
		"dataplane/copyset/suspect.go",
		`return r.now < r.promised() && m.From`, `return false && m.From`,
		"./dataplane/copyset", "TestAPromiseHoldsThoughANewerTermWasHeardOf"},
	{"copyset: a lease under which the leadership was given away", "P2",
		"dataplane/copyset/handoff.go", "\tr.lease.given = true\n\tr.transferAt", "\tr.transferAt",
		"./dataplane/copyset", "TestLeaderThatNobodyTakesOverFromGoesOn"},
	{"store: chunks listed by a member that is behind", "P1", "dataplane/store/report.go",
		`status = m.Has(applied)`, `status = m.Has(min(applied, 0))`,
		"./dataplane/store", "TestChunksAreListedOnceEnoughIsApplied"},
	{"copyset: a fence without effect", "P13", "dataplane/copyset/dedup.go",
		`		clear(a.sessions)
		a.epoch = epoch`, `		clear(a.sessions)
		a.epoch = min(epoch, 1)`,
		"./dataplane/copyset", "TestFenceEndsOlderSessions"},
	{"copyset: writes of fenced sessions take effect", "P13", "dataplane/copyset/dedup.go",
		`if c.Epoch < t.epoch(c.Volume) {`, `if c.Epoch+1 < t.epoch(c.Volume) {`,
		"./dataplane/copyset", "TestFenceCatchesWhatIsUnderWay"},
	{"copyset: a session is forgotten with those of other volumes", "P3",
		"dataplane/copyset/dedup.go",
		`	if epoch > a.epoch {
		for _, s`, `	if epoch > a.epoch {
		for _, other := range t.volumes {
			clear(other.sessions)
		}
		for _, s`,
		"./dataplane/copyset", "TestSessionIsForgottenOnlyWhenItIsFenced"},
	{"copyset: a table larger than a snapshot carries", "P3", "dataplane/copyset/dedup.go",
		`t.volumes[volume] != nil || t.size+needs <= maxTableBytes`,
		`t.volumes[volume] != nil || t.size+needs <= 2*maxTableBytes`,
		"./dataplane/copyset", "TestFullTableRefusesNewSessionsAndForgetsNothing"},
	{"lane: a read that goes ahead does not hold what waits", "P5", "dataplane/lane/lane.go",
		`			o.blockers++
`, `			o.blockers += 0
`,
		"./dataplane/lane", "TestRandomOperationsNeverOverlapAndAllRun"},
	{"lane: what is fetched waits for what waits", "P7", "dataplane/lane/lane.go",
		`case op.Ahead && o.began == 0:`, `case op.Ahead && o.began == 0 && o.Free():`,
		"./dataplane/lane", "TestReadAheadPassesAFlushThatWaits"},
	{"client: a volume is used before older sessions are fenced", "P13", "rpc/client/client.go",
		`if o.readOnly {`, `if o.readOnly || true {`,
		"./rpc/client", "TestOpenForWritingFencesEveryCopysetOfTheVolume"},
	{"copyset: a newcomer lost as a voter stays one", "P1", "dataplane/copyset/membership.go",
		`if id < want.Joining && !slices.Contains(members, id) {`,
		`if id < want.Joining && slices.Contains(members, id) && len(members) == 0 {`,
		"./dataplane/copyset", "TestNextStepOfAReplacement"},
	{"copyset: a plan out of date removes a newer member", "P1", "dataplane/copyset/membership.go",
		`if id < want.Joining && !slices.Contains(members, id) {`,
		`if id != want.Joining && !slices.Contains(members, id) {`,
		"./dataplane/copyset", "TestNextStepOfAReplacement"},
	{"copyset: a replica is filled at the clients' pace for ever", "P6",
		"dataplane/copyset/snapshot.go",
		`job.Urgent = r.lastFill != 0 &&`, `job.Urgent = r.lastFill < 0 &&`,
		"./dataplane/copyset", "TestSecondFetchInARowIsUrgent"},
	{"copyset: a leader rests though a follower lacks something", "P7", "dataplane/copyset/rest.go",
		`p.Match == r.entries.last() && r.lease`, `r.lease`,
		"./dataplane/copyset", "TestLeaderOfAnIdleCopysetGoesToRest"},
	{"copyset: a follower rests with entries that are not applied", "P7",
		"dataplane/copyset/rest.go",
		`r.applied == r.entries.last() && r.applied == r.status.Commit &&`, `true &&`,
		"./dataplane/copyset", "TestFollowerThatLacksSomethingDoesNotRest"},
	{"copyset: a follower at rest forgets a leader that it promised to", "P2",
		"dataplane/copyset/rest.go",
		`!r.leading() && r.now >= r.promised() {`, `!r.leading() {`,
		"./dataplane/copyset", "TestFollowerAtRestVotesOnceItsPromiseIsOver"},
	{"copyset: a lease is trusted where clocks are not", "P2", "dataplane/copyset/read.go",
		`return !r.readIndex && r.serving()`, `return r.serving()`,
		"./dataplane/copyset", "TestReadIndexModeTrustsNoLease"},
	{"copyset: chunks are up to date that were touched later", "P1",
		"dataplane/copyset/snapshot.go",
		`return c.LastWrite <= job.base }`, `return c.LastWrite <= job.base+1<<20 }`,
		"./dataplane/store", "TestOnlyChunksThatWereTouchedAreFetched"},
	{"copyset: a replacement that nobody knows of is done", "P1",
		"dataplane/copyset/membership.go",
		`r.settling = settling{open: true}`, `r.settling = settling{}`,
		"./dataplane/copyset", "TestReplacementIsDoneWhenAMajorityKnows"},
	{"peer: repair with bytes that do not fit their checksum", "P4", "dataplane/peer/links.go",
		`got != want {
			return fmt.Errorf("%w: block`, `got != want && i < 0 {
			return fmt.Errorf("%w: block`,
		"./dataplane/peer", "TestRequestsBringWhatTheOtherHas"},
	{"wire: accept a client's block without its checksum", "P4", "rpc/wire/blocks.go",
		`got != crcs[i] {`, `got != crcs[i] && n < 0 {`,
		"./rpc/wire", "TestVerifyNamesTheBlockThatIsBad"},
	{"wire: accept header and metadata without their checksum", "P4", "rpc/wire/header.go",
		`headerCRC(head, meta); got != want {`,
		`headerCRC(head, meta); got != want && len(meta) < 0 {`,
		"./rpc/wire", "TestEveryFlippedBitOfHeaderAndMetaIsCaught"},
	{"wire: a wrong crc for a block of zeroes", "P4", "rpc/wire/blocks.go",
		`CRC32C(make([]byte, BlockSize))`, `CRC32C(make([]byte, BlockSize-1))`,
		"./dataplane/store", "TestBlockOfZeroesIsRepairedToo"},
}
