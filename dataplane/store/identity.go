package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// identityFile is the file that says whose disk this is: JSON, so that an operator can read it.
const identityFile = "STORE"

// identityVersion is the version of the directory's layout; a newer one is refused.
const identityVersion = 1

// ErrForeign marks a directory that is not this store's to use.
var ErrForeign = errors.New("store: foreign directory")

// identity names the store. UUID and ChunkSize are fixed when it is made; the cluster and the
// store id come from the control plane at first registration, and are then fixed too.
type identity struct {
	Format    string    `json:"format"`
	Version   int       `json:"version"`
	UUID      uuid.UUID `json:"uuid"`
	ChunkSize int64     `json:"chunk_bytes"`
	ClusterID string    `json:"cluster_id"`
	StoreID   uint64    `json:"store_id"`
	// CRC is the crc32c of the others as compact JSON; 0 in files of releases that had none.
	CRC uint32 `json:"crc32c"`
}

// sum is what CRC must be. It is never 0, which means none.
func (m identity) sum() uint32 {
	m.CRC = 0
	return max(noteCRC(m), 1)
}

const identityFormat = "ashlar-store"

func (s *Store) loadIdentity() error {
	data, err := s.disk.ReadFile(identityFile)
	if errors.Is(err, disk.ErrNotExist) {
		return s.makeIdentity()
	}
	if err != nil {
		return fmt.Errorf("store %s: %w", s.cfg.Path, err)
	}
	s.meta, err = decodeIdentity(s.cfg.Path, data)
	return err
}

// decodeIdentity reads the content of a STORE file; path is for messages.
func decodeIdentity(path string, data []byte) (m identity, err error) {
	refuse := func(format string, args ...any) (identity, error) {
		return m, fmt.Errorf("%w: %s/%s "+format, append([]any{ErrForeign, path, identityFile},
			args...)...)
	}
	if err := json.Unmarshal(data, &m); err != nil || m.Format != identityFormat {
		return refuse("is not an identity of an Ashlar store: use another directory")
	}
	// A damaged name of a field, of the checksum above all, must not pass for an absent one.
	strict := json.NewDecoder(bytes.NewReader(data))
	strict.DisallowUnknownFields()
	switch {
	case m.Version != identityVersion:
		return refuse("has layout version %d, this build reads %d: use a newer release",
			m.Version, identityVersion)
	case strict.Decode(new(identity)) != nil:
		return refuse("is damaged: it has fields that nobody writes: replace the disk")
	case m.CRC != 0 && m.CRC != m.sum():
		return refuse("is damaged: crc32c %08x, want %08x: replace the disk", m.sum(), m.CRC)
	case m.UUID == uuid.Nil || m.ChunkSize <= 0:
		return refuse("lacks uuid or chunk_bytes")
	}
	return m, nil
}

func (s *Store) makeIdentity() error {
	names, err := s.disk.List("")
	if err != nil {
		return fmt.Errorf("store %s: %w", s.cfg.Path, err)
	}
	if len(names) > 0 {
		return fmt.Errorf("%w: %s has no %s file but holds %q: use an empty directory", ErrForeign,
			s.cfg.Path, identityFile, names[0])
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return fmt.Errorf("store %s: %w", s.cfg.Path, err)
	}
	s.meta = identity{Format: identityFormat, Version: identityVersion, UUID: id,
		ChunkSize: s.cfg.ChunkSize}
	return s.saveIdentity()
}

func (s *Store) saveIdentity() error {
	s.meta.CRC = s.meta.sum()
	return s.saveNote(identityFile, &s.meta)
}

// UUID names the store for ever.
func (s *Store) UUID() string { return s.meta.UUID.String() }

// Path is where the store lies, for messages.
func (s *Store) Path() string { return s.cfg.Path }

// ID is the number the control plane gave the store; 0 before the first registration.
func (s *Store) ID() uint64 { return s.meta.StoreID }

// ClusterID is the cluster the store belongs to; empty before the first registration.
func (s *Store) ClusterID() string { return s.meta.ClusterID }

// Adopt records what the control plane calls the store. A store never changes its cluster.
func (s *Store) Adopt(clusterID string, storeID uint64) error {
	if s.meta.ClusterID == clusterID && s.meta.StoreID == storeID {
		return nil
	}
	if s.meta.ClusterID != "" {
		return fmt.Errorf("%w: %s is store %d of cluster %s, not store %d of %s", ErrForeign,
			s.cfg.Path, s.meta.StoreID, s.meta.ClusterID, storeID, clusterID)
	}
	s.meta.ClusterID, s.meta.StoreID = clusterID, storeID
	return s.saveIdentity()
}
