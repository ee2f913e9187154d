package chunkfile

// Changes counts the chunks that came or went since Open.
func (p *Pool) Changes() uint64 { return p.changes.Load() }

// Volumes is how many chunks each volume has here, damaged ones too, and the Changes until then. It
// looks at every chunk, so whoever asks often asks Changes first.
func (p *Pool) Volumes() (changes uint64, chunks map[uint64]uint64) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	chunks = map[uint64]uint64{}
	for id := range p.chunks {
		chunks[id.Volume]++
	}
	return p.changes.Load(), chunks
}
