package node

import (
	"fmt"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// checkCache refuses a store whose device forgets with the power what it reported as durable,
// unless the settings allow that; what cannot be told is said in the log and goes on.
func (n *Node) checkCache(path string) error {
	c, err := disk.CacheOf(path)
	if err != nil {
		return err
	}
	log := n.log.With("store", path, "on", c.Where, "reason", c.Reason)
	switch {
	case c.Verdict == disk.CacheVolatile && n.cfg.AllowVolatileCache:
		log.Warn("a power cut takes acknowledged writes: the settings allow it")
	case c.Verdict == disk.CacheVolatile:
		return fmt.Errorf("%w; if the data may be lost with the power, set allow_volatile_cache "+
			"(`ashlar up --allow-volatile-cache`)", c.Err())
	case c.Verdict == disk.CacheUnknown:
		log.Warn("cannot tell whether a power cut takes acknowledged writes", "fix", c.Fix)
	default:
		log.Info("write cache", "verdict", c.Verdict.String())
	}
	return nil
}
