//go:build !race

package copyset

// raceEnabled: the race detector makes sync.Pool drop items at random.
const raceEnabled = false
