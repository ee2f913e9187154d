// Package linear judges whether what clients saw of some blocks is possible for linearizable
// registers: whether there is one order of all operations on a block in which every operation takes
// effect between its call and its return, and every read finds what the write before it left.
//
// Values must differ from write to write. A write whose outcome is not known may have taken effect
// at any time after its call, or never; a read that failed says nothing and is not recorded.
//
// A History records concurrently, in bounded memory: operations beyond its size are refused, and
// the caller stops. Check takes time that grows with how many operations overlap, so it gives up
// after a time, which is not a verdict.
package linear
