package store

import (
	"encoding/json"
	"fmt"

	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// noteCRC is the crc32c of a value as compact JSON: the checksum of the store's small files, which
// say what they say in text that an operator can read.
func noteCRC(value any) uint32 {
	data, err := json.Marshal(value)
	if err != nil {
		panic("store: a small file's content does not encode: " + err.Error())
	}
	return wire.CRC32C(data)
}

// saveNote replaces a small file. Durable on return.
func (s *Store) saveNote(name string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err == nil {
		err = s.disk.WriteFile(name, append(data, '\n'))
	}
	if err != nil {
		return fmt.Errorf("store %s: %w", s.cfg.Path, err)
	}
	return nil
}
