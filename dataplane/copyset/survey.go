package copyset

// A control plane that has lost its metadata asks leaders what they hold. What a leader says is
// used to decide where chunks lie that it does not have, so nothing may be on its way: the volume
// is fenced first. A fence stands in the log behind everything that older sessions have written,
// and after it they write nothing; so a replica that has applied it has every chunk they made.

// Fence proposes that sessions of a volume that are older than the epoch write no more. Only a
// leader does; the control plane asks again until it is told so.
func (r *Replica) Fence(volume, epoch uint64) {
	if r.err != nil || !r.Serving() || r.sessions.epoch(volume) >= epoch ||
		!r.sessions.hasRoom(volume) {
		return
	}
	r.wake()
	c := Command{Kind: CmdFence, Volume: volume, Epoch: epoch}
	r.ignore(r.node.Propose(c.AppendTo(nil)))
}

// Epochs calls f for every volume that this replica knows of, but for those in ErasedVolumes, with
// its newest epoch; that of one that was deleted is the highest number there is. It reports whether
// the replica leads, and has applied all that was committed before it did; else it calls nothing.
func (r *Replica) Epochs(f func(volume, epoch uint64)) bool {
	if r.err != nil || !r.Serving() || r.restore != nil {
		return false
	}
	for volume, a := range r.sessions.volumes {
		if volume != anyVolume {
			f(volume, a.epoch)
		}
	}
	return true
}

// ErasedVolumes is the runs of volumes that the replica knows to be erased. They are not to be
// changed.
func (r *Replica) ErasedVolumes() []Volumes { return r.sessions.erased }

// Epoch is the newest that this replica knows of a volume, as Epochs has it; 0: none.
func (r *Replica) Epoch(volume uint64) uint64 { return r.sessions.epoch(volume) }
