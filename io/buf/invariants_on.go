//go:build invariants

package buf

// mangle makes Release overwrite the content, so that use after release is seen.
const mangle = true
