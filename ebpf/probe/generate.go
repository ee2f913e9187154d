package probe

//go:generate ./generate.sh
