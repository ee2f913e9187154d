// Package disk is the seam between the store and its device.
package disk
