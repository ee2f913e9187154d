package node

import "errors"

// errNotAdopted: the stores are open, and nobody has said what they are to serve.
var errNotAdopted = errors.New("node: the control plane has not told this node yet what to serve")

// Alive reports whether everything in the node that decides takes its turns. What waits for a
// device or for other nodes is alive.
func (n *Node) Alive() bool {
	for _, s := range n.stores {
		if !s.Alive() {
			return false
		}
	}
	return true
}

// trouble is why the node cannot be relied on now: what its stores say of themselves, which is the
// age of what waits in them. That it answers at all means little.
func (n *Node) trouble() []error {
	var found []error
	if !n.adopted.Load() {
		found = append(found, errNotAdopted)
	}
	for _, s := range n.stores {
		if err := s.Trouble(); err != nil {
			found = append(found, err)
		}
	}
	return found
}
