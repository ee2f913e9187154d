// Package compare lays two sides of several runs each beside one another: medians, ranges, and how
// probable a difference like theirs is when there is none.
//
// It reads documents of fio's JSON, ours or fio's own: jobs of the same name in one document, or in
// several, are runs of the same job. The test is that of Mann and Whitney (On a Test of whether one
// of Two Random Variables is Stochastically Larger than the Other, Annals of Mathematical
// Statistics 18, 1947), two-sided, exact as long as no two values are equal and the sides are
// small, else by the normal approximation with the correction for ties. It assumes nothing about
// how figures are distributed, and needs four runs a side to show anything at 5 %.
//
// Every metric of every job is a test of its own: of twenty that differ by nothing, one is expected
// below 5 %.
package compare
