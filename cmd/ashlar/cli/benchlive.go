package cli

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/perf/suite"
)

// liveLine is one line on standard error that is written over and over.
type liveLine struct {
	to   io.Writer
	wide int
}

// liveLine is nil when nobody would read it.
func (r *benchRun) liveLine() *liveLine {
	f, ok := r.app.stderr.(*os.File)
	if r.eta == "never" || r.eta == "auto" && (!ok || !terminal(f)) {
		return nil
	}
	return &liveLine{to: r.app.stderr}
}

func terminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

func (l *liveLine) show(s suite.Status) {
	text := fmt.Sprintf("Jobs: %d", s.Jobs)
	if s.Share > 0 {
		text += fmt.Sprintf(" [%.1f%%]", 100*s.Share)
	}
	text += fmt.Sprintf("[r=%s/s,w=%s/s][r=%s,w=%s IOPS]", humanize.IBytes(uint64(s.Bytes[0])),
		humanize.IBytes(uint64(s.Bytes[1])), humanize.Comma(int64(s.Ops[0])),
		humanize.Comma(int64(s.Ops[1])))
	if s.Share > 0 {
		left := s.Left.Round(time.Second)
		text += fmt.Sprintf("[eta %02dm:%02ds]", int(left.Minutes()), int(left.Seconds())%60)
	}
	fmt.Fprintf(l.to, "\r%-*s", l.wide, text)
	l.wide = len(text)
}

func (l *liveLine) clear() {
	if l.wide > 0 {
		fmt.Fprintf(l.to, "\r%*s\r", l.wide, "")
	}
}
