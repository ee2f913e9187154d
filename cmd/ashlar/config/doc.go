// Package config reads the YAML files of the daemons and the sizes and durations people type.
//
// Reading is strict: an unknown key, a key given twice, a second document, a value of the wrong
// kind or outside its range is an error that names the file, the line, the key and what would be
// right. A file larger than FileBytesMax is refused before it is parsed. Nothing is guessed: a key
// that is absent has the default that `print-defaults` shows, and a key without a possible default
// is demanded by name.
//
//	node := config.DefaultNode()
//	err := config.Load("node.yaml", &node) // errors.Is(err, config.ErrInvalid)
//
// The same struct written by Render and read by Load is the same struct.
package config
