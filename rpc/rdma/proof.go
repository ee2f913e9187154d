package rdma

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
)

// ErrKey: the peer did not prove that it has this side's pre-shared key, or one side has none.
var ErrKey = errors.New("rdma: pre-shared key")

const proofSize = sha256.Size

// proof is what shows that its sender has the key: HMAC-SHA-256 over the sender's role and both
// nonces, so that neither side's proof is good for the other or for another connection.
func proof(key []byte, dialler bool, dials, listens [nonceSize]byte) []byte {
	role := "ashlar rdma listens"
	if dialler {
		role = "ashlar rdma dials"
	}
	h := hmac.New(sha256.New, key)
	h.Write([]byte(role))
	h.Write(dials[:])
	h.Write(listens[:])
	return h.Sum(nil)
}
