//go:build !invariants

package buf

const mangle = false
