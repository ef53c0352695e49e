//go:build !race

package bff

const raceEnabled = false
