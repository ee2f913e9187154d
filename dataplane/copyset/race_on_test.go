//go:build race

package copyset

const raceEnabled = true
