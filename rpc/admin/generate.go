package admin

//go:generate ./generate.sh
