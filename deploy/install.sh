#!/usr/bin/env bash
# Installs the packages of packages.txt, or of the list that is named, whose command or file is missing.
# Needs root and apt only when something is missing; says what to install by hand where it cannot.
set -euo pipefail
cd "$(dirname "$0")"
export PATH="$PATH:/usr/sbin:/sbin"

missing=()
while read -r package command; do
	case "$package" in '' | '#'*) continue ;; esac
	command -v "$command" >/dev/null || [ -e "$command" ] || missing+=("$package")
done <"${1:-packages.txt}"
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
	echo "install: missing: ${missing[*]}: install them with the system's package manager" >&2
	exit 1
fi
echo "install: ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
install() { apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null; }
install 2>/dev/null || { apt-get update -q >/dev/null && install; }
