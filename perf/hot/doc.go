// Package hot is clients that write and read the same few blocks at the same time, and the verdict
// on what they saw: whether each block was one linearizable register all the while, and no block
// was ever torn.
//
// A writer writes values that rise, each in its whole block and nowhere else; a reader tells from
// the bytes which value it is, and that all of the block is of one write. Every operation goes into
// a history of bounded length; when that is full, the clients stop, and say so. A write that timed
// out may have taken effect at any time or never, and is judged so. Any other error ends the
// clients, because the cluster was to serve.
package hot
