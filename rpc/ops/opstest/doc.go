// Package opstest is for tests of admin listeners that speak TLS: it makes certificates that are
// their own authority, for an hour.
package opstest
