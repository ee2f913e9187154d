package server

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/ashlar-storage/ashlar/rpc/admin"
)

// A page token is the last path of the page before it, so that nothing is kept between two calls,
// a restart does no harm, and what is made or removed meanwhile moves no other item.
const tokenMark = "p1:"

func pageToken(last string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(tokenMark + last))
}

func readToken(token string) (last string, err error) {
	if token == "" {
		return "", nil
	}
	text, err := base64.RawURLEncoding.DecodeString(token)
	last, ok := strings.CutPrefix(string(text), tokenMark)
	if err != nil || !ok {
		return "", errToken(token)
	}
	return last, nil
}

func errToken(token string) error {
	return admin.Errorf(admin.ErrInvalid, "control: page_token %.40q: want the next_page_token "+
		"of the answer before", token)
}

func pageSize(asked uint64) int {
	if asked == 0 || asked > maxPage {
		return maxPage
	}
	return int(asked)
}

// page chooses the paths of one page from all paths in order: those in a directory, behind the
// last path of the page before. next is the token of the page that follows, empty at the end.
func page(paths []string, directory string, recursive bool, asked uint64, token string) (
	got []string, next string, err error,
) {
	last, err := readToken(token)
	if err != nil {
		return nil, "", err
	}
	size := pageSize(asked)
	prefix := directory
	if prefix != "" {
		prefix += "/"
	}
	at, _ := slices.BinarySearch(paths, prefix)
	if last > prefix {
		var found bool
		if at, found = slices.BinarySearch(paths, last); found {
			at++
		}
	}
	for _, path := range paths[at:] {
		inside, ok := strings.CutPrefix(path, prefix)
		switch {
		case !ok:
			return got, "", nil
		case !recursive && strings.Contains(inside, "/"):
		case len(got) == size:
			return got, pageToken(got[size-1]), nil
		default:
			got = append(got, path)
		}
	}
	return got, "", nil
}
