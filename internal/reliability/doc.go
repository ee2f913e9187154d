// Reliability writes the tables of docs/reliability.md from the counts that the lanes left: which
// promise is held by which tests, and what they last counted; and every deliberate bug with the
// test that caught it.
//
//	EVIDENCE=bin/evidence make crash corrupt ...
//	go run ./internal/reliability -from bin/evidence            # rewrites the tables
//	go run ./internal/reliability -from bin/evidence -check     # fails when a lane left nothing
//
// The text around the tables is written by hand and kept.
package main
