package ops

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrTokens marks a file of tokens that cannot be used.
var ErrTokens = errors.New("ops: bad tokens")

// Role is what the owner of a token may see and do. Each may all that those before it may.
type Role uint8

// The roles.
const (
	Nobody Role = iota // no token, or one that nobody has
	Viewer             // metrics and counters
	Tracer             // and profiles and traces, which cost the process something
)

var roleNames = [...]string{Nobody: "nobody", Viewer: "viewer", Tracer: "tracer"}

func (r Role) String() string { return roleNames[r] }

// ParseRole reads a role that a token can have.
func ParseRole(name string) (Role, error) {
	i := slices.Index(roleNames[1:], name)
	if i < 0 {
		return Nobody, fmt.Errorf("ops: role %.20q: use one of %s", name,
			strings.Join(roleNames[1:], ", "))
	}
	return Role(i + 1), nil
}

// Owner is who shows a token.
type Owner struct {
	Name string
	Role Role
}

// tokenBytes is how much chance is in a token: too much to be guessed, so that a plain sum of it
// is a safe thing to keep.
const tokenBytes = 32

// NewToken makes a token, and the line that gives it to its owner in a file of tokens.
func NewToken(o Owner) (token, line string, err error) {
	if o.Role == Nobody {
		return "", "", fmt.Errorf("ops: a token for %s", o.Role)
	}
	if err := checkOwner(o.Name); err != nil {
		return "", "", err
	}
	secret := make([]byte, tokenBytes)
	if _, err := rand.Read(secret); err != nil {
		return "", "", fmt.Errorf("ops: no chance to be had: %w", err)
	}
	token = base64.RawURLEncoding.EncodeToString(secret)
	sum := sha256.Sum256([]byte(token))
	return token, fmt.Sprintf("%s %s %s", o.Role, o.Name, hex.EncodeToString(sum[:])), nil
}

func checkOwner(name string) error {
	bad := strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' })
	if name == "" || len(name) > maxOwner || bad || name[0] == '#' {
		return fmt.Errorf("ops: owner %.80q: use 1 to %d printable characters without spaces",
			name, maxOwner)
	}
	return nil
}

// Tokens is a file that says who may do what: a line for each token, ROLE NAME and the SHA-256 of
// the token in hex. It is read again when it has changed, so that a token can be taken away while
// the process runs. A file that cannot be read any more lets nobody in.
type Tokens struct {
	path string

	mu     sync.Mutex
	size   int64
	time   time.Time
	owners map[[sha256.Size]byte]Owner
}

// OpenTokens reads the file. Errors are of class ErrTokens and name the line.
func OpenTokens(path string) (*Tokens, error) {
	t := &Tokens{path: path}
	return t, t.refresh()
}

// Owner says whose token it is; of role Nobody when it is nobody's.
func (t *Tokens) Owner(token string) (Owner, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.refresh(); err != nil {
		return Owner{}, err
	}
	return t.owners[sha256.Sum256([]byte(token))], nil
}

func (t *Tokens) refresh() error {
	f, err := os.Open(t.path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTokens, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTokens, err)
	}
	if t.owners != nil && info.Size() == t.size && info.ModTime().Equal(t.time) {
		return nil
	}
	t.owners = nil
	text, err := io.ReadAll(io.LimitReader(f, maxTokenFile+1))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTokens, err)
	}
	owners, err := parseTokens(text)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrTokens, t.path, err)
	}
	t.owners, t.size, t.time = owners, info.Size(), info.ModTime()
	return nil
}

// parseTokens reads a file of tokens. Empty lines and those that begin with # say nothing.
func parseTokens(text []byte) (map[[sha256.Size]byte]Owner, error) {
	if len(text) > maxTokenFile {
		return nil, fmt.Errorf("larger than %d bytes", maxTokenFile)
	}
	owners := map[[sha256.Size]byte]Owner{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		sum, owner, err := parseToken(line)
		if _, twice := owners[sum]; err == nil && twice {
			err = errors.New("the token of an earlier line")
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		owners[sum] = owner
	}
	return owners, lines.Err()
}

func parseToken(line string) (sum [sha256.Size]byte, o Owner, err error) {
	fields := strings.Fields(line)
	if len(fields) != 3 {
		return sum, o, fmt.Errorf("%d words, want three: a role, a name and the SHA-256 of the "+
			"token in hex, as `ashlar token create` prints them", len(fields))
	}
	if o.Role, err = ParseRole(fields[0]); err != nil {
		return sum, o, err
	}
	if o.Name = fields[1]; checkOwner(o.Name) != nil {
		return sum, o, checkOwner(o.Name)
	}
	raw, err := hex.DecodeString(fields[2])
	if err != nil || len(raw) != len(sum) {
		return sum, o, fmt.Errorf("the third word is not a SHA-256 in hex, %d digits",
			2*len(sum))
	}
	return [sha256.Size]byte(raw), o, nil
}
