package view

// Token is one that was just made: the token for its owner, and the line for the file that says who
// may do what.
type Token struct {
	Owner string `json:"owner"`
	Role  string `json:"role"`
	Token string `json:"token"`
	Line  string `json:"line"`
}

// Tables implements Tabler.
func (t Token) Tables() []Table {
	return []Table{{Rows: [][]string{{"token", t.Token}, {"line", t.Line}}}}
}
