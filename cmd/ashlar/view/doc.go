// Package view is what the command line shows: one struct for each thing that can be listed, and
// three ways to write it.
//
// The field names of the JSON form are a promise to scripts: fields are added, never renamed or
// removed, and the golden files in testdata fail when one moves. The YAML form is the same
// document in YAML. The table is for people and may change. Sizes are bytes in JSON and YAML and
// rounded binary units in tables; times are RFC 3339 in UTC.
package view
