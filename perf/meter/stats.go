package meter

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// statsMax bounds what is read from /stats.
const statsMax = 1 << 20

// Stats are the counters of a node by path, such as "runtime.mallocs" or "disk.write_bytes"; those
// of its stores are summed.
type Stats map[string]float64

// ReadStats asks a node's admin listener.
func ReadStats(ctx context.Context, addr string) (Stats, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/stats", nil)
	if err != nil {
		return nil, fmt.Errorf("meter: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("meter: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, statsMax))
	if err != nil {
		return nil, fmt.Errorf("meter: %s/stats: %w", addr, err)
	}
	return ParseStats(text)
}

// ParseStats reads the JSON of /stats.
func ParseStats(text []byte) (Stats, error) {
	var doc map[string]any
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("meter: /stats: %w", err)
	}
	out := Stats{}
	stores, _ := doc["stores"].([]any)
	delete(doc, "stores")
	out.add("", doc)
	for _, s := range stores {
		out.add("", s)
	}
	return out, nil
}

func (s Stats) add(path string, v any) {
	switch v := v.(type) {
	case float64:
		s[path] += v
	case map[string]any:
		for k, x := range v {
			s.add(strings.TrimPrefix(path+"."+k, "."), x)
		}
	}
}

// Minus is what was counted since an earlier reading.
func (s Stats) Minus(earlier Stats) Stats {
	out := Stats{}
	for k, v := range s {
		out[k] = v - earlier[k]
	}
	return out
}

// Plus adds the counters of another node, or of another interval.
func (s Stats) Plus(o Stats) Stats {
	out := Stats{}
	for k, v := range s {
		out[k] = v
	}
	for k, v := range o {
		out[k] += v
	}
	return out
}
