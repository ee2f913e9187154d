// Package deps imports the modules that the project builds on, so that go.mod keeps their exact
// versions while no other package needs them yet. Nothing imports it.
package deps
