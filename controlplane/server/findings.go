package server

import (
	"errors"
	"fmt"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// The verdicts on a volume that nodes know otherwise than the metadata.
const (
	isRecoverable = "recoverable" // the metadata do not have it
	isRecovered   = "recovered"
	isGrown       = "grown" // it has chunks behind its end
	isExtended    = "extended"
	isInUse       = "in-use"  // would be one of these, and a client has it open
	isUnclear     = "unclear" // what there is contradicts itself, or the metadata
	isDeleted     = "deleted" // the metadata have it, and the nodes have given it up
	isEmpty       = "empty"   // the metadata do not have it, and nothing of it was written
)

// recoveredDir is where volumes go whose names are lost.
const recoveredDir = "recovered"

// finding is a verdict, and what it takes to act on it.
type finding struct {
	v1.RebuiltVolume
	epoch uint64            // the newest that anybody knows
	at    map[uint64]uint64 // copysets of the chunks that the metadata do not have
}

// applies says whether there is something to write down.
func (f *finding) applies() bool { return f.Verdict == isRecoverable || f.Verdict == isGrown }

// settled says whether nothing of the volume is missing in the metadata.
func (f *finding) settled() bool {
	switch f.Verdict {
	case isRecovered, isExtended, isDeleted, isEmpty:
		return true
	}
	return false
}

// judge compares what all copysets hold with the metadata.
func (c *cluster) judge(now time.Time) (list []*finding, err error) {
	held, epochs := c.survey.holdings(c.volumes)
	for _, id := range sortedIDs(held) {
		f := &finding{epoch: epochs[id]}
		f.VolumeId, f.Copysets = id, uint64(len(held[id]))
		vol := c.volumes[id]
		switch deleted := epochs[id] == deletedEpoch; {
		case vol != nil && vol.State == stateDeleting, vol == nil && deleted:
			continue
		case deleted:
			f.Name, f.Verdict = vol.Name, isDeleted
			f.Detail = "it was deleted after the backup: delete it again"
		case vol == nil:
			c.judgeUnknown(f, held[id], now)
		default:
			if err := c.judgeKnown(f, vol, held[id]); err != nil {
				return nil, err
			}
		}
		if f.Verdict != "" {
			list = append(list, f)
		}
	}
	return list, nil
}

func (c *cluster) judgeUnknown(f *finding, h holding, now time.Time) {
	f.Name = fmt.Sprintf("%s/volume-%d", recoveredDir, f.VolumeId)
	f.Chunks, f.Verdict = h.chunks(), isRecoverable
	conflict := ""
	f.at, conflict = whereabouts(h)
	f.SizeBytes = end(f.at, c.cfg.ChunkBytes)
	switch {
	case f.Chunks == 0:
		f.Verdict, f.Detail = isEmpty, "it was opened, and nothing was written"
	case conflict != "":
		f.Verdict, f.Detail = isUnclear, conflict
	case f.SizeBytes > MaxVolumeBytes || f.VolumeId > c.restored.Floor:
		f.Verdict, f.Detail = isUnclear, "no volume can be like that"
	case c.usedLately(f.VolumeId, now):
		f.Verdict, f.Detail = isInUse, "a client has it open: end that first"
	}
}

func (c *cluster) judgeKnown(f *finding, vol *v1.Volume, h holding) error {
	f.Name = vol.Name
	at, conflict := whereabouts(h)
	if conflict == "" {
		segs, err := c.readSegments(vol.VolumeId, 0, 0)
		if err != nil {
			return err
		}
		f.at, conflict = beyond(vol, segs, at)
	}
	f.Chunks, f.SizeBytes = uint64(len(f.at)), end(f.at, vol.ChunkBytes)
	switch {
	case conflict != "":
		f.Verdict, f.Detail = isUnclear, conflict
	case f.Chunks == 0: // as it should be
	case f.SizeBytes > MaxVolumeBytes:
		f.Verdict, f.Detail = isUnclear, "no volume is so large"
	case c.holder(vol) != nil || c.usedLately(vol.VolumeId, c.cfg.Now()):
		f.Verdict, f.Detail = isInUse, "a client has it open: end that first"
	default:
		f.Verdict = isGrown
	}
	return nil
}

// applySurvey writes down what was found of the volumes that were fenced, each in a transaction of
// its own, and when nothing is left, that the metadata have everything.
func (c *cluster) applySurvey(found []*finding, now time.Time) error {
	settled := true
	for _, f := range found {
		if epoch := c.survey.fences[f.VolumeId]; epoch != 0 && f.applies() {
			var err error
			if f.Verdict == isGrown {
				err = c.extend(f, epoch)
			} else {
				err = c.recover(f, epoch, now)
			}
			if err != nil {
				return err
			}
		}
		settled = settled && f.settled()
	}
	if !settled {
		return nil
	}
	mark := *c.restored
	mark.RebuiltNS = now.UnixNano()
	err := c.update(func(tx meta.Tx) error { return meta.PutRestored(tx, &mark) })
	if err == nil {
		c.restored = &mark
	}
	return err
}

// recover makes a volume of what nodes hold of it.
func (c *cluster) recover(f *finding, epoch uint64, now time.Time) error {
	dir, made, err := c.recoveredDirectory(now)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("volume-%d", f.VolumeId)
	for k := 2; dir.taken(name); k++ {
		name = fmt.Sprintf("volume-%d-%d", f.VolumeId, k)
	}
	vol := &v1.Volume{VolumeId: f.VolumeId, Name: recoveredDir + "/" + name, SizeBytes: f.SizeBytes,
		SegmentBytes: c.cfg.SegmentBytes, ChunkBytes: c.cfg.ChunkBytes, PoolId: poolID,
		Epoch: epoch, State: stateOK, CreatedUnixNs: now.UnixNano()}
	segs := remap(vol, 0, f.at, c.order)
	err = c.update(func(tx meta.Tx) (err error) {
		if made {
			err = putNewDirectory(tx, dir)
		}
		return errors.Join(err,
			meta.Volumes.Put(tx, meta.ID(vol.VolumeId), vol), putSegments(tx, vol, segs),
			meta.Directory.Put(tx, meta.NameKey(dir.id, name), &meta.Entry{VolumeID: vol.VolumeId}))
	}, volumeNews("volume-recovered", vol, "volume %d was recovered as %s from %d chunks; how "+
		"large it was beyond %s is not known", vol.VolumeId, vol.Name, f.Chunks,
		human(float64(vol.SizeBytes))))
	if err != nil {
		return err
	}
	if made {
		c.space.addDirectory(dir)
	}
	c.volumes[vol.VolumeId] = vol
	c.space.addVolume(dir, name, vol.VolumeId)
	c.takeMapping(vol, segs)
	f.Name, f.Verdict = vol.Name, isRecovered
	return nil
}

func putNewDirectory(tx meta.Tx, dir *directory) (err error) {
	if dir.id, err = meta.NextID(tx, meta.CounterVolume); err != nil {
		return err
	}
	return meta.Directory.Put(tx, meta.NameKey(dir.parent.id, dir.name), dir.entry())
}

// recoveredDirectory is where volumes go whose names are lost; made says that it is yet to be.
func (c *cluster) recoveredDirectory(now time.Time) (dir *directory, made bool, err error) {
	if dir = c.space.directory(recoveredDir); dir != nil {
		return dir, false, nil
	}
	parent, name, err := c.newPlace(recoveredDir)
	if err != nil {
		return nil, false, err
	}
	return newDirectory(0, parent, name, now.UnixNano()), true, nil
}

// extend gives a volume what it had behind its end.
func (c *cluster) extend(f *finding, epoch uint64) error {
	vol := c.volumes[f.VolumeId]
	rec := *vol
	rec.SizeBytes, rec.Epoch = f.SizeBytes, epoch
	segs := remap(&rec, segments(vol), f.at, c.order)
	last, err := c.readSegments(vol.VolumeId, segments(vol)-1, 1)
	if err != nil {
		return err
	}
	err = c.update(func(tx meta.Tx) error {
		return errors.Join(meta.Volumes.Put(tx, meta.ID(rec.VolumeId), &rec),
			putSegments(tx, &rec, segs))
	}, volumeNews("volume-recovered", &rec, "volume %s has its size of after the backup again, %s "+
		"at least", rec.Name, human(float64(rec.SizeBytes))))
	if err != nil {
		return err
	}
	c.volumes[rec.VolumeId] = &rec
	c.growMapping(vol, &rec, last[0], segs)
	f.Verdict = isExtended
	return nil
}
